//! `lockstep demo`: an embedded fleet of cart-poles, or of two agents that talk.

use super::arguments::DemoArguments;
use super::conversation::ConversationView;
use super::demo_view::PolesView;
use super::error::{CliError, ExitStatus};
use super::run::{launch, overridden};
use std::path::Path;
use supervisor::fleet::Fleet;

/// The fleet file, with a default number of poles.
const FLEET: &str = include_str!("demo.toml");

/// The place of the number of poles in [`FLEET`].
const POLES: &str = "64 # poles";

/// The place of the referee's fuel in [`FLEET`].
const FUEL: &str = "10_000_000 # of the referee";

/// Minimum fuel of the referee.
const MIN_FUEL: u64 = 10_000_000;

/// Fuel of the referee for each pole. It uses some 2,400 of it while carts are
/// near the middle, and more when there are more digits to write.
const FUEL_PER_POLE: u64 = 10_000;

/// PolesView of the fleet when faults are injected into it: few, so that most of the time goes into faults.
pub(super) const CHAOS_POLES: u32 = 8;

/// The embedded fleet file for this number of poles.
fn fleet_file(poles: u32) -> String {
    let fuel = MIN_FUEL.max(u64::from(poles) * FUEL_PER_POLE);
    FLEET
        .replace(POLES, &poles.to_string())
        .replace(FUEL, &fuel.to_string())
}

/// The embedded fleet with this number of poles.
pub(super) fn fleet(poles: u32) -> Result<Fleet, CliError> {
    Ok(Fleet::parse(&fleet_file(poles), Path::new("demo"))?)
}

/// The fleet file in which two agents talk.
const TALK: &str = include_str!("talk.toml");

/// The embedded fleet in which two agents talk.
pub(super) fn talk() -> Result<Fleet, CliError> {
    Ok(Fleet::parse(TALK, Path::new("demo --llm"))?)
}

/// Runs one of the embedded fleets.
pub(super) fn demo(command: &DemoArguments) -> Result<ExitStatus, CliError> {
    if command.llm {
        let fleet = talk()?;
        let names = fleet.agents.iter().map(|agent| agent.name.clone());
        let view = ConversationView::new(names);
        let fleet = overridden(fleet, &command.options);
        return launch(fleet, "demo --llm", &command.options, Some(Box::new(view)));
    }
    let fleet = overridden(fleet(command.agents)?, &command.options);
    launch(
        fleet,
        "demo",
        &command.options,
        Some(Box::<PolesView>::default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_has_as_many_poles_as_asked_for() {
        assert_eq!(
            FLEET.matches(POLES).count(),
            1,
            "the number of poles has its one place"
        );
        let fleet =
            Fleet::parse(&fleet_file(3), Path::new("demo")).expect("the embedded fleet is valid");
        let names: Vec<&str> = fleet
            .agents
            .iter()
            .map(|agent| agent.name.as_str())
            .collect();
        assert_eq!(names, ["pole-0", "pole-1", "pole-2", "referee"]);
    }

    #[test]
    fn the_referee_gets_fuel_for_all_poles() {
        assert_eq!(FLEET.matches(FUEL).count(), 1, "the fuel has its one place");
        for (poles, fuel) in [(1, 10_000_000), (64, 10_000_000), (4_000, 40_000_000)] {
            let fleet = Fleet::parse(&fleet_file(poles), Path::new("demo"))
                .expect("the embedded fleet is valid");
            let referee = fleet.agents.last().expect("the referee comes last");
            assert_eq!((referee.name.as_str(), referee.fuel), ("referee", fuel));
        }
    }
}
