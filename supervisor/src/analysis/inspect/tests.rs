//! The text of records and differences, word for word.

use super::*;
use crate::analysis::RunSummary;
use crate::analysis::diff::{diff, ticks};
use crate::journal::testing::{Small, header, record, tensor};
use crate::journal::{JournalReader, check};
use crate::record::{AwaitedRecord, ModelChange, QuarantineReason, RequestName, Verdict};
use shm_protocol::agent_to_supervisor::{Effect, Status};
use shm_protocol::generation::Generator;
use shm_protocol::id::{ModelId, RequestId, VersionId};
use shm_protocol::inference_to_supervisor::{Batching, RefusalReason};
use shm_protocol::tensor::{DType, Shape, Tensor};

fn tick_text(agent: Option<&str>, record: &TickRecord) -> String {
    let header = header(1);
    let agent = agent.map(|name| agent_named(&header, name).unwrap());
    TickView {
        header: &header,
        tick: Tick(3),
        record,
        agent,
    }
    .to_string()
}

/// The difference of two records of tick 3 after a change to the right one.
fn after(change: impl FnOnce(&mut TickRecord)) -> String {
    let (left, mut right) = (record(3), record(3));
    change(&mut right);
    ticks(&header(1), Tick(3), &left, &right)
        .expect("the records are equal")
        .to_string()
}

#[test]
fn a_header_is_shown() {
    insta::assert_snapshot!(HeaderView(&header(7)));
}

#[test]
fn agents_that_differ_in_name_only_share_a_line() {
    let mut header = header(7);
    header.agents.push(AgentPin {
        fuel: 5,
        name: "third".to_owned(),
        ..header.agents[0].clone()
    });
    let text = HeaderView(&header).to_string();
    let agents: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("  agents["))
        .collect();
    assert_eq!(agents.len(), 2);
    assert!(
        agents[0].starts_with("  agents[0] to agents[1], of which the first: name \"pole\""),
        "{}",
        agents[0]
    );
    assert!(
        agents[1].starts_with("  agents[2]: name \"third\""),
        "{}",
        agents[1]
    );
}

#[test]
fn a_tick_is_shown() {
    insta::assert_snapshot!(tick_text(None, &record(3)));
}

#[test]
fn one_agents_part_of_a_tick_is_shown() {
    insta::assert_snapshot!(tick_text(Some("referee"), &record(2)));
}

#[test]
fn failures_are_shown_with_their_reasons() {
    let mut failed = record(3);
    failed.outcomes[0].status =
        Status::Trapped("wasm `unreachable` instruction executed".to_owned());
    failed.outcomes[1].status = Status::OutOfFuel;
    failed.results[0].outcome = Err("the engine ran out of memory".to_owned()).into();
    insta::assert_snapshot!(tick_text(None, &failed));
}

#[test]
fn long_payloads_are_cut_and_counted() {
    assert_eq!(
        FieldValue::Bytes(&[b'a'; 200]).to_string(),
        format!("\"{}\"... (200 bytes)", "a".repeat(96))
    );
    assert_eq!(
        FieldValue::Bytes(&[0xff; 200]).to_string(),
        format!("0x{}... (200 bytes)", "ff".repeat(96))
    );
    assert_eq!(FieldValue::Bytes(b"line\n").to_string(), r#""line\n""#);
}

#[test]
fn the_counts_of_a_run_are_shown() {
    let (_, run) = Small {
        ticks: 5,
        ..Small::default()
    }
    .write();
    let (header, mut reader) = JournalReader::open(&run).unwrap();
    insta::assert_snapshot!(RunSummary::read(&header, &mut reader).unwrap());
}

#[test]
fn differences_are_named_down_to_the_byte() {
    let differences = [
        after(|right| right.outcomes[1].fuel_used += 1),
        after(|right| right.outcomes[1].status = Status::OutOfFuel),
        after(|right| {
            if let Effect::Send { payload, .. } = &mut right.outcomes[1].effects[0] {
                payload[2] = b'P';
            }
        }),
        after(|right| {
            if let Effect::Submit { inputs, .. } = &mut right.outcomes[1].effects[1] {
                inputs[0] = tensor(&[3.0, -0.25]);
            }
        }),
        after(|right| drop(right.outcomes[1].effects.pop())),
        after(|right| right.outcomes[0].effects.swap(0, 1)),
        after(|right| right.results[0].outcome = Ok(vec![tensor(&[0.125])]).into()),
        after(|right| right.results[0].request = RequestId(9)),
        after(|right| drop(right.outcomes.pop())),
        after(|right| right.dropped = record(2).dropped),
    ];
    insta::assert_snapshot!(differences.join("\n\n"));
}

/// The header of a run whose model is a language model.
fn language_model_header() -> RunHeader {
    let mut header = header(1);
    header.models[0].settings.generator = Some(Generator {
        max_concurrent_generations: 4,
        tokens_per_tick: 1,
        context_length: None,
        cache_bytes: 0,
    });
    header
}

fn text_tensor(text: &str) -> Tensor {
    Tensor {
        dtype: DType::U8,
        shape: Shape::new(&[text.len() as u64]).unwrap(),
        data: text.into(),
    }
}

#[test]
fn every_changed_byte_of_a_record_is_a_difference() {
    use shm_protocol::{codec, limit};
    let mut left = with_an_await();
    left.results[0].outcome = Ok(vec![text_tensor("word")]).into();
    left.dropped = record(2).dropped;
    left.verdicts = vec![
        Verdict::Quarantined {
            agent: AgentId(1),
            reason: QuarantineReason::RequestsAbandoned(2),
        },
        Verdict::RequestAbandoned {
            agent: AgentId(0),
            model: ModelId(0),
            asked: Tick(2),
            request: RequestName::Submitted(RequestId(4)),
        },
        Verdict::ProviderLost {
            version: VersionId(0),
            called: "1".to_owned(),
            model: ModelId(0),
            provider: "cpu".to_owned(),
            refused: vec![("cuda".to_owned(), RefusalReason::SelfTestFailed)],
            batching: Batching::Untried("no memory".to_owned()),
        },
        Verdict::Changed {
            model: ModelId(0),
            version: Some(VersionId(1)),
            called: Some("2".to_owned()),
            change: ModelChange::Unload,
        },
    ];
    let bytes = codec::encode(&left);
    for header in [header(1), language_model_header()] {
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            let Ok(right) = codec::decode::<TickRecord, { limit::TICK_RECORD_BYTES }>(&changed)
            else {
                continue;
            };
            assert!(
                ticks(&header, Tick(3), &left, &right).is_some(),
                "byte {position}"
            );
        }
    }
}

#[test]
fn bytes_of_a_language_model_are_text_unless_they_are_empty() {
    let mut record = record(3);
    record.results[0].outcome = Ok(vec![text_tensor("a word"), text_tensor("")]).into();
    let text = TickView {
        header: &language_model_header(),
        tick: Tick(3),
        record: &record,
        agent: None,
    }
    .to_string();
    let expected = "model \"policy\"\n    outcome.outputs.action: \"a word\"\n  outcomes[0]";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn different_headers_and_lengths_are_named() {
    let (_, run) = Small::default().write();
    let (_, seed) = Small {
        seed: 2,
        ..Small::default()
    }
    .write();
    let (_, longer) = Small {
        ticks: 6,
        ..Small::default()
    }
    .write();
    let texts = [(&run, &seed), (&run, &longer), (&longer, &run)].map(|(left, right)| {
        diff(left, right)
            .unwrap()
            .expect("the runs are equal")
            .to_string()
    });
    insta::assert_snapshot!(texts.join("\n\n"));
}

/// A tick in which the first agent awaits a result of the model.
fn with_an_await() -> TickRecord {
    let mut record = record(3);
    record.outcomes[1].effects.push(Effect::Infer {
        model: ModelId(0),
        inputs: vec![tensor(&[1.5])].into(),
    });
    record.awaited.push(AwaitedRecord {
        agent: AgentId(0),
        model: ModelId(0),
        outcome: Ok(vec![tensor(&[0.75])]).into(),
    });
    record
}

#[test]
fn an_await_and_its_result_are_shown_and_compared() {
    let record = with_an_await();
    let text = tick_text(None, &record);
    let shown = [
        "  awaited[0]: agent \"pole\", model \"policy\"\n    outcome.outputs.action: f32[1,1] 0.75\n",
        "    effects[3].await: model \"policy\"\n      inputs.state: f32[1,1] 1.5\n",
    ];
    for lines in shown {
        assert!(text.contains(lines), "{lines:?} is not in {text}");
    }
    let mut other = with_an_await();
    other.awaited[0].outcome = Ok(vec![tensor(&[0.25])]).into();
    let difference = ticks(&header(1), Tick(3), &record, &other).expect("they differ");
    assert!(
        difference
            .to_string()
            .contains("awaited[0].outcome.outputs.action element 0"),
        "{difference}"
    );
    let mut other = with_an_await();
    other.outcomes[1].effects.pop();
    assert!(ticks(&header(1), Tick(3), &record, &other).is_some());
}

#[test]
fn a_tick_whose_results_are_not_those_of_its_awaits_is_refused() {
    let header = header(1);
    let (agents, models) = (header.agents.len(), header.models.len());
    let judge = |record: &TickRecord| check::record(record, agents, models);
    assert!(judge(&with_an_await()).is_ok());
    let mut unanswered = with_an_await();
    unanswered.awaited.clear();
    assert!(judge(&unanswered).is_err());
    let mut of_another = with_an_await();
    of_another.awaited[0].agent = AgentId(1);
    assert!(judge(&of_another).is_err());
    let mut twice = with_an_await();
    twice.awaited.push(twice.awaited[0].clone());
    assert!(judge(&twice).is_err());
}

#[test]
fn json_has_the_fields_of_a_tick_or_of_one_agent() {
    let header = header(1);
    let mut record = record(3);
    record.outcomes[0].fuel_used = u64::MAX;
    record.results[0].outcome = Ok(vec![tensor(&[f32::NAN, -0.25])]).into();
    let json = |agent: Option<&str>| {
        let view = TickView {
            header: &header,
            tick: Tick(3),
            record: &record,
            agent: agent.map(|name| agent_named(&header, name).unwrap()),
        };
        serde_json::to_string(&view).unwrap()
    };
    insta::assert_snapshot!(json(None));
    let one = json(Some("pole"));
    assert!(one.contains("policy") && !one.contains("score"), "{one}");
}
