//! The promise of fault plans: what is written is what is armed, in a fleet
//! file as in a file of its own, and what cannot be is refused with the place,
//! the value and the valid ones.

use super::*;
use shm_protocol::fault::FaultPoint;

const FLEET: &str = "[fleet]\nname = \"f\"\n[[agents]]\nname = \"left\"\ncomponent = \"builtin:a\"\n\
    [[agents]]\nname = \"right\"\ncomponent = \"builtin:a\"\n\
    [[models]]\nname = \"policy\"\nfile = \"builtin:m\"\n";

fn fleet(more: &str) -> Result<Fleet, FleetError> {
    Fleet::parse(&format!("{FLEET}{more}"), Path::new("fleet.toml"))
}

fn plan(text: &str) -> Result<FaultPlan, FleetError> {
    FaultPlan::parse(text, Path::new("plan.toml"), &fleet("").unwrap())
}

fn refusal(rule: &str) -> String {
    let text = format!("[[rules]]\n{rule}\n");
    let refused = plan(&text).expect_err(rule).to_string();
    let lines: Vec<&str> = refused.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn a_rule_is_read_with_all_its_keys() {
    let text = "[[rules]]\npoint = \"before-step\"\nkind = \"slow\"\ntick = 17\nagent = \"right\"\n\
        delay_ms = 40\ntimes = 3\ncounts_as_restart = true\n\
        [[rules]]\npoint = \"process-started\"\nkind = \"start-failure\"\nhost = 2\nnth_start = 4\n\
        [[rules]]\npoint = \"tick-opened\"\nkind = \"kill\"\ninference_host = true\n\
        [[rules]]\npoint = \"before-model\"\nkind = \"model-gone\"\nmodel = \"policy\"\n";
    let right = FaultTarget::Agent(AgentId(1), "right".into());
    let policy = FaultTarget::Model(ModelId(0), "policy".into());
    let expected = [
        FaultRule {
            tick: Some(Tick(17)),
            delay_ms: 40,
            times: 3,
            counts_as_restart: true,
            ..FaultRule::new(FaultPoint::BeforeStep, FaultKind::Slow, right)
        },
        FaultRule {
            nth_start: Some(4),
            ..FaultRule::new(
                FaultPoint::ProcessStarted,
                FaultKind::StartFailure,
                FaultTarget::Host(HostId(2)),
            )
        },
        FaultRule::new(
            FaultPoint::TickOpened,
            FaultKind::Kill,
            FaultTarget::Inference,
        ),
        FaultRule::new(FaultPoint::BeforeModel, FaultKind::ModelGone, policy),
    ];
    assert_eq!(plan(text).unwrap().rules, expected);
    let in_fleet = text.replace("[[rules]]", "[[faults.rules]]");
    assert_eq!(fleet(&in_fleet).unwrap().faults.rules, expected);
    let written = plan(text).unwrap().to_toml();
    assert_eq!(plan(&written).unwrap().rules, expected);
}

#[test]
fn a_fleet_without_faults_has_none_and_an_empty_plan_is_one() {
    assert!(fleet("").unwrap().faults.is_empty());
    assert!(plan("").unwrap().is_empty());
}

#[test]
fn rules_written_as_a_list_are_the_same() {
    let listed =
        "[faults]\nrules = [{ point = \"tick-opened\", kind = \"supervisor-kill\", tick = 3 }]\n";
    assert_eq!(fleet(listed).unwrap().faults.rules[0].tick, Some(Tick(3)));
}

#[test]
fn a_plan_knows_the_agents_even_of_a_wrong_fleet() {
    let text = "[[agents]]\nname = \"left\"\ncomponent = \"builtin:a\"\n[[faults.rules]]\npoint = \"in-step\"\n\
        kind = \"kill\"\nagent = \"lfet\"\n";
    let refused = Fleet::parse(text, Path::new("fleet.toml"))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("[fleet] is missing"), "{refused}");
    assert!(refused.contains("did you mean \"left\"?"), "{refused}");
}

#[test]
fn every_refusal_names_the_value_and_the_valid_ones() {
    let kill = "point = \"before-step\"\nkind = \"kill\"";
    for (name, rule) in [
        (
            "faults_point",
            "point = \"before-stpe\"\nkind = \"kill\"".to_owned(),
        ),
        ("faults_point_missing", "kind = \"kill\"".to_owned()),
        (
            "faults_kind",
            "point = \"before-step\"\nkind = \"explode\"".to_owned(),
        ),
        (
            "faults_kind_does_not_fit",
            "point = \"before-write\"\nkind = \"segfault\"".to_owned(),
        ),
        ("faults_agent", format!("{kill}\nagent = \"rihgt\"")),
        (
            "faults_model",
            "point = \"before-batch\"\nkind = \"kill\"\nmodel = \"x\"".to_owned(),
        ),
        ("faults_host", format!("{kill}\nhost = 512")),
        (
            "faults_two_targets",
            format!("{kill}\nhost = 1\nagent = \"left\""),
        ),
        (
            "faults_no_target",
            "point = \"tick-opened\"\nkind = \"stop\"".to_owned(),
        ),
        (
            "faults_target_of_supervisor",
            "point = \"tick-opened\"\nkind = \"slow\"\nhost = 1".to_owned(),
        ),
        (
            "faults_target_never_there",
            "point = \"before-batch\"\nkind = \"kill\"\nagent = \"left\"".to_owned(),
        ),
        ("faults_tick", format!("{kill}\ntick = 0")),
        ("faults_delay_ms", format!("{kill}\ndelay_ms = 5")),
        ("faults_times", format!("{kill}\ntimes = 0")),
        ("faults_nth_start", format!("{kill}\nnth_start = 2")),
        ("faults_unknown_key", format!("{kill}\nagnet = \"left\"")),
    ] {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path("../snapshots");
        settings.bind(|| insta::assert_snapshot!(name, refusal(&rule)));
    }
}

#[test]
fn a_plan_that_is_no_plan_is_refused() {
    let refused = |text: &str| plan(text).unwrap_err().to_string();
    assert!(refused("rules = 3\n").contains("[[rules]]"));
    assert!(refused("[[rule]]\n").contains("did you mean `rules`?"));
    assert!(refused("point = ").contains("not TOML"));
    let wrong = fleet("[faults]\nrules = 3\n").unwrap_err().to_string();
    assert!(wrong.contains("[[faults.rules]]"), "{wrong}");
    let wrong = fleet("faults = 3\n").unwrap_err().to_string();
    assert!(wrong.contains("faults"), "{wrong}");
}

#[test]
fn a_plan_that_cannot_be_read_is_refused_as_a_plan() {
    let missing = FaultPlan::read(Path::new("no-such-plan.toml"), &fleet("").unwrap());
    let text = missing.unwrap_err().to_string();
    assert!(text.contains("fault plan no-such-plan.toml"), "{text}");
}
