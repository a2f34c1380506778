//! The pace says when ticks open, and never what is in them.

use rustix::process::Signal;
use test_support::{Place, agent, chain, fleet, model};

fn tables() -> [String; 2] {
    [
        agent("feeder", "mlp", "count = 2\nsettings = { emit_every = 3 }"),
        model("mlp", "mlp", ""),
    ]
}

#[test]
fn ticks_open_at_their_rate_and_the_chain_is_the_same() {
    let place = Place::new();
    place.write("free.toml", fleet("ticks = 20\nhosts = 1", &tables()));
    place.write(
        "paced.toml",
        fleet("ticks = 20\nhosts = 1\npace = \"50 Hz\"", &tables()),
    );
    let run = |fleet: &str, dir: &str, more: &[&str]| {
        let run = [&["run", fleet, "--dir", dir, "--json"], more].concat();
        place.fine(&run).json()
    };
    let free = run("free.toml", "free", &[]);
    let paced = run("paced.toml", "paced", &[]);
    assert_eq!(chain(&paced), chain(&free));
    // 19 periods of 20 ms lie between the first tick and the last one; how late ticks were is the machine's doing.
    assert!(paced["wall_s"].as_f64() >= Some(0.38), "{paced}");
    // A rate that no machine keeps, and a lost host at a slow one, change nothing either.
    let hurried = run("paced.toml", "hurried", &["--pace", "10000"]);
    assert_eq!(chain(&hurried), chain(&free));
    assert!(hurried["late_ticks"].as_u64() > Some(0), "{hurried}");
    let plan =
        "[[rules]]\npoint = \"before-step\"\nkind = \"kill\"\nagent = \"feeder-1\"\ntick = 7\n";
    place.write("plan.toml", plan);
    let killed = run(
        "paced.toml",
        "killed",
        &["--faults", "plan.toml", "--pace", "40Hz"],
    );
    assert_eq!(chain(&killed), chain(&free));
    assert_eq!(killed["restarts"], 1);
    assert_eq!(place.replays("killed"), chain(&free));
}

#[test]
fn a_stop_does_not_wait_for_the_next_tick_and_a_resume_has_its_pace() {
    let place = Place::new();
    let counts = agent("counts", "counter", "settings = { emit_every = 1 }");
    place.write("fleet.toml", fleet("pace = \"0.01 Hz\"", &[counts]));
    let running = place.start(place.command(&["run", "fleet.toml", "--dir", "run", "--json"]));
    // What a tick has emitted leaves while the next one waits.
    let outbox = place.path("run/outbox.jsonl");
    running.wait_until("the first tick has left", || {
        std::fs::metadata(&outbox).is_ok_and(|outbox| outbox.len() > 0)
    });
    running.signal(Signal::INT);
    let stopped = running.end().with_code(0);
    // The next tick would open 100 s after the first.
    assert!(stopped.json()["wall_s"].as_f64() < Some(60.0), "{stopped}");
    assert_eq!(stopped.json()["ticks"], 2);
    // The pace of the launch is kept, and can be replaced.
    let launch = std::fs::read_to_string(place.path("run/launch.json")).expect("a launch");
    assert!(launch.contains("0.01 Hz"), "{launch}");
    let resumed = place.fine(&["resume", "run", "--ticks", "9", "--pace", "free", "--json"]);
    assert_eq!(resumed.json()["ticks"], 9);
    assert_eq!(place.replays("run"), chain(&resumed.json()));
}

#[test]
fn what_is_no_pace_is_refused_with_the_next_step() {
    let place = Place::new();
    for (value, words) in [
        ("\"0 Hz\"", "out of range"),
        ("\"fast\"", "no pace"),
        ("7", "write it in quotes"),
    ] {
        place.write("fleet.toml", fleet(&format!("pace = {value}"), &tables()));
        let refused = place
            .lockstep(&["run", "fleet.toml", "--dir", "run"])
            .with_code(2);
        refused.naming(&["pace", words]);
    }
    place.write("fleet.toml", fleet("", &tables()));
    for value in ["0", "-1", "20000 Hz", "soon"] {
        let refused = place
            .lockstep(&["run", "fleet.toml", &format!("--pace={value}")])
            .with_code(2);
        refused.naming(&["--pace", "0.001 Hz"]);
    }
}
