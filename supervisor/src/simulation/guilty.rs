//! Requests that crash the engine: each of them is abandoned and nothing else is, whatever they shared a batch with;
//! whoever goes on with the run, and whoever replays it, comes to the same.

use super::case::Reference;
use super::decided::replayed;
use super::fleet::{Deadly, Fleet, ROW_BYTES};
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::RunObserver;
use super::{check, supervisor_run as life};
use crate::journal::JournalReader;
use crate::record::{ABANDONED, QuarantineReason, RequestName, Verdict};
use crate::session::journal_scan::scan_journal;
use crate::sys::memory_disk::MemoryDisk;
use crate::tick::AwaitedRequest;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::{AgentId, RequestId, Tick};
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;
use test_support::TestRng;

/// Whether a request to a model, or to a language model, crashes the engine if it is asked in a tick.
fn is_guilty_of(deadly: &Deadly, is_text: bool, asked: Tick, inputs: &[Tensor]) -> bool {
    let data = &inputs[0].data;
    match is_text {
        true => deadly.is(asked, data),
        false => data.chunks(ROW_BYTES).any(|row| deadly.is(asked, row)),
    }
}

/// Checks every answer of a run: it is the one to abandoned requests exactly where the request crashes the engine, and a
/// verdict says the same. Gives how many were abandoned, and how many of the others had company.
fn judged(fleet: &Fleet, disk: &MemoryDisk) -> (usize, usize) {
    let deadly = fleet.deadly.as_ref().expect("it has some");
    let run_dir = check::open(disk).expect("a run");
    let (_, mut reader) = JournalReader::open(&run_dir).expect("a journal");
    let mut asked: BTreeMap<(AgentId, RequestId), (Tick, Vec<Tensor>)> = BTreeMap::new();
    let (mut abandoned, mut answered) = (0, 0);
    for entry in reader.entries() {
        let entry = entry.expect("a tick");
        let (tick, record) = (entry.tick, entry.record);
        let mut told: Vec<(AgentId, RequestName, Tick)> = Vec::new();
        for verdict in &record.verdicts {
            match verdict {
                Verdict::RequestAbandoned {
                    agent,
                    asked,
                    request,
                    ..
                } => told.push((*agent, *request, *asked)),
                Verdict::Quarantined {
                    reason: QuarantineReason::RequestsAbandoned(_),
                    ..
                } => {}
                other => panic!("{other:?}"),
            }
        }
        let is_abandoned = |outcome: &Result<Vec<Tensor>, String>| {
            outcome
                .as_ref()
                .err()
                .is_some_and(|error| error == ABANDONED)
        };
        for result in &record.results {
            let name = (result.agent, result.request);
            let (made, inputs) = &asked[&name];
            let is_text = fleet.writer() == Some(result.model);
            let request = RequestName::Submitted(result.request);
            let is_told = told
                .iter()
                .position(|(agent, name, _)| (*agent, *name) == (result.agent, request));
            assert_eq!(
                is_told.is_some(),
                is_abandoned(&result.outcome),
                "tick {tick}: {name:?}"
            );
            // A text is asked of the engine in many ticks, any other request in the one in which it is made.
            let at = is_told.map_or(*made, |position| told[position].2);
            let is_guilty = is_guilty_of(deadly, is_text, at, inputs);
            assert!(is_text || at == *made, "tick {tick}: {name:?}");
            if let Some(position) = is_told {
                told.remove(position);
                abandoned += 1;
                assert!(is_guilty, "tick {tick}: {name:?}");
            } else {
                let is_refused = result.outcome.is_err();
                assert!(is_text || !is_guilty || is_refused, "tick {tick}: {name:?}");
                answered += usize::from(result.outcome.is_ok());
            }
        }
        let mut answers = record.awaited.iter();
        for outcome in &record.outcomes {
            let mut number = 0;
            for effect in &outcome.effects {
                if let Effect::Submit {
                    request, inputs, ..
                } = effect
                {
                    let name = (outcome.agent, *request);
                    asked.insert(name, (tick, inputs.to_vec()));
                }
                let Some(awaiting) = AwaitedRequest::of(effect) else {
                    continue;
                };
                let answer = answers.next().expect("one for each");
                let verdict = (outcome.agent, RequestName::Awaited(number), tick);
                number += 1;
                let is_told = told.iter().position(|told| *told == verdict);
                assert_eq!(
                    is_told.is_some(),
                    is_abandoned(&answer.outcome),
                    "{verdict:?}"
                );
                let is_guilty = is_guilty_of(deadly, false, tick, &awaiting.inputs);
                // What is asked of a model that is not loaded never comes to the engine.
                let is_refused = answer.outcome.is_err() && is_told.is_none();
                assert!(is_told.is_some() == is_guilty || is_refused, "{verdict:?}");
                if let Some(position) = is_told {
                    told.remove(position);
                    abandoned += 1;
                }
            }
        }
        assert_eq!(told, [], "tick {tick}");
    }
    (abandoned, answered)
}

/// Fleets with models, small ones and those of many agents, with and without a language model, in which nothing else is
/// decided.
fn fleets() -> impl Iterator<Item = Fleet> {
    let with_models = (0..)
        .map(|seed| Fleet::new(seed, false))
        .filter(Fleet::has_models);
    with_models.take(FLEETS)
}

/// Fleets that are run.
const FLEETS: usize = 24;

#[test]
fn only_the_request_that_crashes_the_engine_is_abandoned() {
    let (mut abandoned, mut answered, mut texts) = (0, 0, 0);
    for (number, mut fleet) in fleets().enumerate() {
        let first = 1 + number as u64 % 12;
        fleet.deadly = Some(Deadly {
            until: Tick(first + 5),
            ..Deadly::at(first, 3)
        });
        texts += usize::from(fleet.writer().is_some());
        let reference = Reference::of_fleet(fleet);
        let (guilty, others) = judged(&reference.fleet, &reference.disk);
        (abandoned, answered) = (abandoned + guilty, answered + others);
        for seed in 0..8 {
            replayed(&reference.fleet, &reference.disk, seed)
                .unwrap_or_else(|reason| panic!("fleet {number}, replay {seed}: {reason}"));
        }
    }
    assert!(abandoned > 50 && answered > 1000, "{abandoned}, {answered}");
    assert!(
        (4..FLEETS - 4).contains(&texts),
        "{texts} with a language model"
    );
}

#[test]
fn agents_that_go_on_asking_so_are_quarantined() {
    let mut quarantined = 0;
    for mut fleet in fleets().take(8) {
        fleet.deadly = Some(Deadly {
            until: Tick(u64::MAX),
            ..Deadly::at(5, 1)
        });
        fleet.launch.restarts.quarantine_after = 3;
        let reference = Reference::of_fleet(fleet);
        judged(&reference.fleet, &reference.disk);
        let run_dir = check::open(&reference.disk).unwrap();
        let verdicts = scan_journal(&run_dir).unwrap().verdicts;
        let is_quarantined = |verdict: &&Verdict| matches!(verdict, Verdict::Quarantined { reason: QuarantineReason::RequestsAbandoned(requests), .. } if *requests >= 3);
        quarantined += verdicts.values().flatten().filter(is_quarantined).count();
        for seed in 0..4 {
            replayed(&reference.fleet, &reference.disk, seed).unwrap();
        }
    }
    assert!(quarantined > 5, "{quarantined}");
}

/// Wherever a run is stopped, in a search or between a request that was abandoned and its delivery, whoever goes on
/// abandons the same requests and quarantines the same agents in the same ticks.
#[test]
fn who_goes_on_abandons_the_same_requests() {
    let (mut failed, mut resumed, mut from_checkpoint) = (Vec::new(), 0, 0);
    for (number, mut fleet) in fleets().enumerate() {
        let first = 3 + number as u64 % 9;
        fleet.deadly = Some(Deadly {
            until: Tick(first + 8),
            ..Deadly::at(first, [1, 2, 4][number % 3])
        });
        fleet.launch.restarts.quarantine_after = [1, 2, 3][number % 3];
        fleet.launch.checkpoint_ticks = 1 + number as u64 % 3;
        // Of the members of a batch, some are told at once and some wait for their next step.
        for (pin, every) in fleet.header.agents.iter_mut().zip([4, 1, 6, 1, 4, 1, 2, 1]) {
            pin.every = every;
        }
        let reference = Reference::of_fleet(fleet);
        if reference.left.verdicts == 0 {
            continue;
        }
        for actions in (0..reference.actions).step_by(5) {
            let disk = MemoryDisk::for_one_thread();
            let mut observer = RunObserver::default();
            let fleet = &reference.fleet;
            let hosts = |begins| {
                SimHosts::assembled(
                    fleet,
                    begins,
                    true,
                    TestRng::for_purpose(3, 3),
                    HostFaults::none(),
                )
            };
            let mut one = hosts(true);
            one.stop_after(actions);
            life::begin(fleet, Arc::new(disk.clone()), &mut one, &mut observer).unwrap();
            let disk = disk.after_process_death();
            let kept = Arc::new(disk.clone());
            life::resume(fleet, kept, &mut hosts(false), &mut observer).unwrap();
            (resumed, from_checkpoint) = (
                resumed + 1,
                from_checkpoint + observer.resumed_from_checkpoint,
            );
            if let Err(reason) = check::equal(&reference.disk, &disk) {
                failed.push(format!("fleet {number}, stopped after {actions}: {reason}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}: {}", failed.len(), failed.join("\n"));
    assert!(
        resumed > 500 && from_checkpoint > 200,
        "{resumed}, {from_checkpoint}"
    );
}
