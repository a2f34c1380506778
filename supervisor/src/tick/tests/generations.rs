//! Texts from the tick that asks for one to the tick that delivers its last
//! piece, with an engine that counts: the token after `n` is `n + 1`, and a text
//! ends after the token 5.

use super::{agent, begun_with, committed, outcome};
use crate::record::{ModelSettings, ResultRecord, TickRecord};
use crate::tick::version_timeline::VersionTimeline;
use crate::tick::{InferenceBatch, PlannedModel, RunPlan, TickAction, TickInput, TickMachine};
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::generation::{self, DecodeRequest, Delta, Deltas, Finish, Generator};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::tensor::{DType, Shape, Tensor};
use shm_protocol::{codec, limit};

const LAST: u32 = 5;

fn bytes(data: &[u8]) -> Tensor {
    Tensor {
        dtype: DType::U8,
        shape: Shape::new(&[data.len() as u64]).expect("one dimension"),
        data: data.to_vec(),
    }
}

fn writer(sequences: u32, tokens_per_tick: u32) -> PlannedModel {
    PlannedModel {
        name: "writer".to_owned(),
        signature: generation::signature(),
        timeline: VersionTimeline::new(VersionId(0), true),
        settings: ModelSettings {
            max_batch: 1,
            generator: Some(Generator {
                max_concurrent_generations: sequences,
                tokens_per_tick,
                context_length: None,
                cache_bytes: 0,
            }),
            ..ModelSettings::default()
        },
        seed: 7,
    }
}

/// A machine whose agents have scripted outcomes for each tick, and its engine.
struct Stage {
    machine: TickMachine,
    actions: Vec<TickAction>,
    script: Vec<(u64, u32, &'static str)>,
    requests: Vec<u64>,
    orders: Vec<(Tick, DecodeRequest)>,
}

impl Stage {
    fn new(agents: u32, model: PlannedModel, script: &[(u64, u32, &'static str)]) -> Stage {
        let planned = (0..agents).map(|_| agent(0)).collect();
        let (machine, actions) = begun_with(RunPlan::new(planned, vec![model], limit::STEP_BYTES));
        Stage {
            machine,
            actions,
            script: script.to_vec(),
            requests: vec![0; agents as usize],
            orders: Vec::new(),
        }
    }

    /// Runs to the end of a tick, and gives the records of all ticks until then.
    fn run(&mut self, until: u64) -> Vec<TickRecord> {
        let mut records = Vec::new();
        while (records.len() as u64) < until {
            let actions = std::mem::take(&mut self.actions);
            assert!(!actions.is_empty(), "it goes on");
            if actions
                .iter()
                .any(|action| matches!(action, TickAction::Commit { .. }))
            {
                records.push(committed(&actions).clone());
            }
            for action in actions {
                let input = match action {
                    TickAction::Step { host, tick, steps } => TickInput::Outcomes {
                        host,
                        tick,
                        outcomes: steps
                            .iter()
                            .map(|step| self.step(tick, step.agent))
                            .collect(),
                    },
                    TickAction::Infer(batch) => self.write(&batch),
                    _ => continue,
                };
                let said = self.machine.apply(input, &mut self.actions);
                said.expect("a sound world");
            }
        }
        records
    }

    fn step(&mut self, tick: Tick, agent: AgentId) -> shm_protocol::agent_to_supervisor::Outcome {
        let lines = self.script.iter();
        let mine = lines.filter(|(at, who, _)| *at == tick.0 && *who == agent.0);
        let mut effects = Vec::new();
        for (_, _, json) in mine {
            let request = RequestId(self.requests[agent.index()]);
            self.requests[agent.index()] += 1;
            effects.push(Effect::Submit {
                request,
                model: ModelId(0),
                inputs: vec![bytes(json.as_bytes())],
            });
        }
        outcome(agent, effects)
    }

    fn write(&mut self, batch: &InferenceBatch) -> TickInput {
        let order: Vec<u8> = batch.input_parts(0).flatten().copied().collect();
        let order: DecodeRequest = codec::decode_record(&order).expect("an order");
        let pieces = order.sequences.iter().map(|sequence| {
            // Of all tokens, not of the last: a generation that lost some of them would continue differently.
            let from = u32::try_from(sequence.tokens.len()).expect("few") + 1;
            let tokens: Vec<u32> = (from..=LAST).take(order.steps as usize).collect();
            let is_last = tokens.last() == Some(&LAST);
            Ok(Delta {
                text: format!("{tokens:?}"),
                tokens,
                embedding: Vec::new(),
                finish: is_last.then_some(Finish::EndOfText),
                prompt_tokens: 1,
            })
        });
        let outputs = Ok(vec![bytes(&codec::encode(&Deltas(pieces.collect())))]);
        self.orders.push((batch.tick, order));
        TickInput::Answer {
            batch: batch.id,
            outputs,
        }
    }
}

/// Tick, agent, request, and state with text of every piece.
fn heard(records: &[TickRecord]) -> Vec<(u64, u32, u64, String)> {
    let text = |result: &ResultRecord| match &*result.outcome {
        Err(reason) => reason.clone(),
        Ok(outputs) => {
            let text = |at: usize| String::from_utf8_lossy(&outputs[at].data).into_owned();
            format!("{}{}", text(2), text(1))
        }
    };
    let of_tick = |(tick, record): (u64, &TickRecord)| {
        let results = record.results.iter();
        let lines = results.map(|result| (tick, result.agent.0, result.request.0, text(result)));
        lines.collect::<Vec<_>>()
    };
    (1..).zip(records).flat_map(of_tick).collect()
}

fn line(tick: u64, agent: u32, request: u64, text: &str) -> (u64, u32, u64, String) {
    (tick, agent, request, text.to_owned())
}

#[test]
fn a_generation_grows_by_whole_steps_one_tick_later() {
    let mut stage = Stage::new(1, writer(8, 2), &[(1, 0, "{\"prompt\": \"a\"}")]);
    assert_eq!(
        heard(&stage.run(6)),
        [
            line(2, 0, 0, "writing[1, 2]"),
            line(3, 0, 0, "writing[3, 4]"),
            line(4, 0, 0, "end[5]"),
        ]
    );
    let sequences: Vec<_> = stage
        .orders
        .iter()
        .map(|(tick, order)| (tick.0, &order.sequences[0]))
        .collect();
    assert_eq!(sequences.len(), 3);
    for ((at, sequence), (tick, tokens)) in
        sequences
            .into_iter()
            .zip([(1, vec![]), (2, vec![1, 2]), (3, vec![1, 2, 3, 4])])
    {
        // An order is whole: it needs nothing that a host remembers.
        assert_eq!((at, &sequence.tokens), (tick, &tokens));
        assert_eq!(
            (sequence.asked.as_slice(), sequence.seed),
            (&b"{\"prompt\": \"a\"}"[..], 7)
        );
    }
}

#[test]
fn a_queued_generation_is_told_its_place_and_starts_in_turn() {
    let ask = "{\"prompt\": \"a\"}";
    let script = [(1, 0, ask), (1, 1, ask), (2, 2, ask)];
    let mut stage = Stage::new(3, writer(1, 5), &script);
    assert_eq!(
        heard(&stage.run(6)),
        [
            line(2, 0, 0, "end[1, 2, 3, 4, 5]"),
            line(2, 1, 0, "queued 1"),
            line(3, 1, 0, "end[1, 2, 3, 4, 5]"),
            line(3, 2, 0, "queued 1"),
            line(4, 2, 0, "end[1, 2, 3, 4, 5]"),
        ]
    );
}

#[test]
fn a_text_can_be_cancelled_and_its_place_is_free() {
    let ask = "{\"prompt\": \"a\"}";
    let script = [
        (1, 0, ask),
        (1, 1, ask),
        (2, 0, "{\"cancel\": 0}"),
        (3, 0, "{\"cancel\": 0}"),
        (3, 0, "{\"cancel\": 9}"),
    ];
    let mut stage = Stage::new(2, writer(1, 1), &script);
    let heard = heard(&stage.run(4));
    assert_eq!(
        heard[..5],
        [
            line(2, 0, 0, "writing[1]"),
            line(2, 1, 0, "queued 1"),
            line(3, 0, 0, "cancelled"),
            line(3, 0, 1, "end"),
            line(3, 1, 0, "writing[1]"),
        ]
    );
    let refused = |request| format!("request {request} is no text that is being written");
    assert_eq!(
        heard[5..7],
        [line(4, 0, 2, &refused(0)), line(4, 0, 3, &refused(9))]
    );
}

#[test]
fn a_deadline_ends_a_text_whether_it_is_written_or_waits() {
    let script = [
        (1, 0, "{\"prompt\": \"a\", \"deadline_ticks\": 2}"),
        (1, 1, "{\"prompt\": \"a\", \"deadline_ticks\": 2}"),
    ];
    let mut stage = Stage::new(2, writer(1, 1), &script);
    assert_eq!(
        heard(&stage.run(6)),
        [
            line(2, 0, 0, "writing[1]"),
            line(2, 1, 0, "queued 1"),
            line(3, 0, 0, "writing[2]"),
            line(4, 0, 0, "deadline"),
            line(4, 1, 0, "deadline"),
        ]
    );
}

#[test]
fn what_is_no_request_is_answered_without_the_engine() {
    let mut stage = Stage::new(1, writer(1, 1), &[(1, 0, "tell me")]);
    let records = stage.run(3);
    assert!(
        heard(&records)[0].3.contains("JSON"),
        "{:?}",
        heard(&records)
    );
    assert_eq!((heard(&records).len(), stage.orders.len()), (1, 0));
}

#[test]
fn what_is_open_is_the_same_after_a_restore() {
    let ask = "{\"prompt\": \"a\"}";
    let script = [
        (1, 0, ask),
        (1, 1, ask),
        (2, 0, ask),
        (3, 1, "{\"cancel\": 0}"),
    ];
    let whole = heard(&Stage::new(2, writer(1, 2), &script).run(12));
    for tick in 1..8 {
        let mut stage = Stage::new(2, writer(1, 2), &script);
        if tick > 1 {
            stage.run(tick - 1);
        }
        stage
            .machine
            .apply(TickInput::Checkpoint, &mut stage.actions)
            .expect("at any time");
        let mut saved = None;
        while saved.is_none() {
            let actions = std::mem::take(&mut stage.actions);
            for action in actions {
                match action {
                    TickAction::Checkpoint { machine, .. } => saved = Some(machine),
                    TickAction::Step { host, tick, steps } => {
                        let outcomes = steps.iter().map(|step| stage.step(tick, step.agent));
                        let outcomes = outcomes.collect();
                        let input = TickInput::Outcomes {
                            host,
                            tick,
                            outcomes,
                        };
                        stage
                            .machine
                            .apply(input, &mut stage.actions)
                            .expect("sound");
                    }
                    TickAction::Infer(batch) => {
                        let input = stage.write(&batch);
                        stage
                            .machine
                            .apply(input, &mut stage.actions)
                            .expect("sound");
                    }
                    _ => {}
                }
            }
        }
        let plan = RunPlan::new(
            vec![agent(0), agent(0)],
            vec![writer(1, 2)],
            limit::STEP_BYTES,
        );
        let mut machine =
            TickMachine::restore(plan, None, &saved.expect("just now")).expect("it fits");
        let mut actions: Vec<TickAction> =
            machine.running().cloned().map(TickAction::Infer).collect();
        machine
            .apply(TickInput::Begin, &mut actions)
            .expect("sound");
        let begun = stage.script.iter().filter(|(at, _, _)| *at <= tick);
        let mut requests = vec![0; 2];
        begun.for_each(|(_, who, _)| requests[*who as usize] += 1);
        let mut again = Stage {
            machine,
            actions,
            script: script.to_vec(),
            requests,
            orders: Vec::new(),
        };
        let mut rest = heard(&again.run(12 - tick));
        rest.iter_mut().for_each(|line| line.0 += tick);
        let expected: Vec<_> = whole.iter().filter(|line| line.0 > tick).cloned().collect();
        assert_eq!(rest, expected, "restored after tick {tick}");
    }
}
