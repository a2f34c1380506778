//! The load of the machine never reaches the journal. Near each bound on time a fleet comes to one chain: alone, beside
//! busy loops, and with any bound a fraction of what the work needs. Where it cannot go on, it stops with exit code 5,
//! says which key to raise, and is resumed.

use base64::Engine;
use serde_json::Value;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use test_support::{Place, Said, agent, chain, fleet, repository};

/// Busy loops beside a run: three for each of two cores.
const BUSY_LOOPS: usize = 6;

/// Launches that one run may take. Every one of them has all retries anew.
const MAX_LAUNCHES: usize = 40;

/// Threads that do nothing, as fast as they can.
struct BusyLoops {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyLoops {
    fn start() -> BusyLoops {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..BUSY_LOOPS).map(spin).collect();
        BusyLoops { stop, threads }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A loop cannot panic.
            let _ = thread.join();
        }
    }
}

/// Runs a fleet to its end, resumed as often as it stops at a limit, and gives its chain and how often it stopped.
fn run_to_end(place: &Place, fleet: &str, dir: &str) -> (String, usize) {
    let first = ["run", fleet, "--dir", dir, "--json"];
    let mut said = place.lockstep(&first);
    for stops in 0..MAX_LAUNCHES {
        if said.code == Some(0) {
            let json = said.json();
            assert_eq!(json["verdicts"], Value::Array(Vec::new()), "{said}");
            return (chain(&json), stops);
        }
        stopped_at_a_limit(&said);
        // One that stopped before its first tick has left nothing to resume.
        said = match place.path(dir).exists() {
            true => place.lockstep(&["resume", dir, "--json"]),
            false => place.lockstep(&first),
        };
    }
    panic!("the run does not end: {said}");
}

fn stopped_at_a_limit(said: &Said) {
    let said = said.clone().with_code(5);
    let names_key = [
        "deadline_ms",
        "_ready_ms",
        "load_ms",
        "restarts_host",
        "restarts_run",
    ]
    .iter()
    .any(|key| said.err.contains(&format!("raise `{key}`")) || said.err.contains(key));
    assert!(names_key, "{said}");
}

/// How often hosts were lost to a bound, by its key.
fn losses(place: &Place, dir: &str, keys: &str) -> usize {
    let events = fs::read_to_string(place.path(dir).join("events.jsonl")).unwrap_or_default();
    let lost = |line: &&str| {
        let of_bound = keys.lines().filter_map(|key| key.split(' ').next());
        line.contains("host_lost")
            && of_bound
                .into_iter()
                .any(|key| line.contains(&format!("({key})")))
    };
    events.lines().filter(lost).count()
}

/// Runs a fleet with a generous bound, then near the bound: alone, and beside busy loops. Gives how often hosts were lost
/// to the bound, or the run stopped at it.
fn agrees(
    place: &Place,
    fleet_with: impl Fn(&str) -> String,
    generous: &str,
    near: &str,
) -> [usize; 2] {
    place.write("generous.toml", fleet_with(generous));
    place.write("near.toml", fleet_with(near));
    let (expected, stops) = run_to_end(place, "generous.toml", "generous");
    assert_eq!(stops, 0, "the bound is generous");
    let (alone, stops_alone) = run_to_end(place, "near.toml", "alone");
    let loops = BusyLoops::start();
    let (loaded, stops_loaded) = run_to_end(place, "near.toml", "loaded");
    drop(loops);
    let (lost_alone, lost_loaded) = (losses(place, "alone", near), losses(place, "loaded", near));
    eprintln!(
        "{near}: {lost_alone} losses and {stops_alone} stops alone, {lost_loaded} and {stops_loaded} beside busy loops"
    );
    assert_eq!((&alone, &loaded), (&expected, &expected), "{near}");
    [lost_alone + stops_alone, lost_loaded + stops_loaded]
}

/// Milliseconds that a run says of itself, to put a bound near them.
fn milliseconds(said: &Said, key: &str) -> u64 {
    let seconds = said.json()[key].as_f64().expect("a number");
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a short time"
    )]
    let milliseconds = (seconds * 1e3) as u64;
    milliseconds
}

#[test]
fn decode_requests_near_their_deadline_come_to_one_chain() {
    let place = Place::new();
    let folder = repository("models/talk");
    let asks = |number: u8| {
        let letter = char::from(b'a' + number);
        let prompt = format!("{letter} was a {letter}. ").repeat(60);
        let request = format!(r#"{{"prompt": "{prompt}", "temperature": 0, "max_tokens": 4}}"#);
        let encoded = base64::engine::general_purpose::STANDARD.encode(&request);
        let keys = format!(
            "settings = {{ model = \"talk\", \"input request\" = \"uint8[{}] {encoded}\" }}",
            request.len()
        );
        agent(&format!("asker-{number}"), "asker", &keys)
    };
    let fleet_with = |keys: &str| {
        let model = format!("[[models]]\nname = \"talk\"\nfolder = \"{folder}\"\n");
        let tables: Vec<String> = (0..8).map(asks).chain([model]).collect();
        fleet(&format!("ticks = 12\nload_ms = 120000\n{keys}"), &tables)
    };
    place.write("probe.toml", fleet_with("deadline_ms = 60000"));
    let probe = place.fine(&["run", "probe.toml", "--dir", "probe", "--json"]);
    // One tick has nearly all the work: its decode request takes about three times this deadline, and is some thirty
    // runs of the engine.
    let near = format!(
        "deadline_ms = {}",
        (milliseconds(&probe, "wall_s") / 3).max(1)
    );
    let [alone, _] = agrees(&place, fleet_with, "deadline_ms = 60000", &near);
    // Without reports of progress the request is lost at the first and at the second deadline, which is twice as long.
    // One loss may be that of a machine that stood still for a tenth of a second.
    assert!(alone < 2, "progress is no silence: {alone} losses");
}

#[test]
fn steps_near_their_deadline_come_to_one_chain() {
    let place = Place::new();
    let fleet_with = |keys: &str| {
        let spins = "fuel = 800000000\non_failure = \"restart\"\n";
        let settings =
            |at: u64| format!("{spins}settings = {{ what = \"spin\", at = {at}, emit_every = 1 }}");
        let tables: Vec<String> = (2..6)
            .map(|at| agent(&format!("spinner-{at}"), "trouble", &settings(at)))
            .collect();
        fleet(&format!("ticks = 8\nhosts = 2\n{keys}"), &tables)
    };
    place.write("probe.toml", fleet_with("deadline_ms = 60000"));
    let probe = place.fine(&["run", "probe.toml", "--dir", "probe", "--json"]);
    // Four ticks have one long step each. Half of one is missed, the whole is not.
    let near = format!(
        "deadline_ms = {}",
        (milliseconds(&probe, "wall_s") / 8).max(1)
    );
    let reached = agrees(&place, fleet_with, "deadline_ms = 60000", &near);
    assert!(reached.iter().sum::<usize>() > 0, "{near} is not near");
}

#[test]
fn starts_near_their_bounds_come_to_one_chain() {
    // A host of each kind is killed, and the process that takes its place is slow: to be ready, or to load.
    let fleet_with = |keys: &str| {
        let mut tables = vec![
            test_support::model("mlp", "mlp", ""),
            agent("asks", "mlp", "count = 4\nsettings = { emit_every = 3 }"),
        ];
        let rules = [
            "tick = 5\nhost = 0\npoint = \"in-step\"\nkind = \"kill\"",
            "tick = 9\ninference_host = true\npoint = \"before-batch\"\nkind = \"kill\"",
            "nth_start = 2\nhost = 0\npoint = \"before-ready\"\nkind = \"slow\"\ndelay_ms = 500",
            "nth_start = 2\ninference_host = true\npoint = \"before-model\"\nkind = \"slow\"\ndelay_ms = 1000",
        ];
        tables.extend(rules.map(|rule| format!("[[faults.rules]]\n{rule}\n")));
        fleet(
            &format!("ticks = 24\nhosts = 2\nhot_standby = false\n{keys}"),
            &tables,
        )
    };
    let generous = "agent_ready_ms = 60000\ninference_ready_ms = 60000\nload_ms = 60000";
    for near in ["agent_ready_ms = 300", "load_ms = 600"] {
        let [alone, loaded] = agrees(&Place::new(), fleet_with, generous, near);
        assert!(alone > 0 && loaded > 0, "{near} is not near");
    }
}

#[test]
fn restarts_near_their_limits_come_to_one_chain() {
    let fleet_with = |keys: &str| {
        let rule = |number: u64| {
            format!(
                "[[faults.rules]]\ntick = {}\npoint = \"in-step\"\nkind = \"abort\"\ncounts_as_restart = true\n",
                3 + 2 * number
            )
        };
        let mut tables = vec![agent(
            "counts",
            "counter",
            "count = 4\nsettings = { emit_every = 3 }",
        )];
        tables.extend((0..6).map(rule));
        fleet(&format!("ticks = 30\nhosts = 2\n{keys}"), &tables)
    };
    for near in ["restarts_host = 1", "restarts_run = 2", "restarts_host = 0"] {
        let place = Place::new();
        let generous = "restarts_host = 1000\nrestarts_run = 1000";
        let [alone, loaded] = agrees(&place, fleet_with, generous, near);
        assert!(alone > 0 && loaded > 0, "{near} is not near");
    }
}
