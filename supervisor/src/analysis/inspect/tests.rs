//! What people read, word for word.

use super::*;
use crate::analysis::diff::{diff, ticks};
use crate::journal::testing::{Small, header, record, tensor};
use crate::journal::{JournalReader, check};
use crate::record::{AgentPin, AwaitedRecord};
use shm_protocol::id::RequestId;

fn tick_text(agent: Option<&str>, record: &TickRecord) -> String {
    let header = header(1);
    let agent = agent.map(|name| agent_named(&header, name).unwrap());
    TickText {
        header: &header,
        tick: Tick(3),
        record,
        agent,
    }
    .to_string()
}

/// How the diff of tick 3 reads after a change to the right one.
fn after(change: impl FnOnce(&mut TickRecord)) -> String {
    let (left, mut right) = (record(3), record(3));
    change(&mut right);
    ticks(&header(1), Tick(3), &left, &right)
        .expect("the records are equal")
        .to_string()
}

#[test]
fn a_header_is_shown() {
    insta::assert_snapshot!(HeaderText(&header(7)));
}

#[test]
fn agents_that_differ_in_name_only_are_shown_together() {
    let mut header = header(7);
    header.agents.push(AgentPin {
        fuel: 5,
        name: "third".to_owned(),
        ..header.agents[0].clone()
    });
    let text = HeaderText(&header).to_string();
    let agents: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("agent"))
        .collect();
    assert_eq!(agents.len(), 2);
    assert!(
        agents[0].starts_with("agents    0 to 1, as pole"),
        "{}",
        agents[0]
    );
    assert!(agents[1].starts_with("agent     2 third"), "{}", agents[1]);
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
fn what_failed_is_shown_with_its_reason() {
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
        Payload(&[b'a'; 200]).to_string(),
        format!("\"{}\"... (200 bytes)", "a".repeat(96))
    );
    assert_eq!(
        Payload(&[0xff; 200]).to_string(),
        format!("0x{}... (200 bytes)", "ff".repeat(96))
    );
    assert_eq!(Payload(b"line\n").to_string(), r#""line\n""#);
}

#[test]
fn a_run_is_summed_up() {
    let (_, run) = Small {
        ticks: 5,
        ..Small::default()
    }
    .write();
    let (header, mut reader) = JournalReader::open(&run).unwrap();
    insta::assert_snapshot!(Summary::read(&header, &mut reader).unwrap());
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

#[test]
fn every_changed_byte_of_a_record_is_a_difference() {
    use shm_protocol::{codec, limit};
    let (left, header) = (record(3), header(1));
    let bytes = codec::encode(&left);
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        let Ok(right) = codec::decode::<TickRecord, { limit::TICK_RECORD_BYTES }>(&changed) else {
            continue;
        };
        assert!(
            ticks(&header, Tick(3), &left, &right).is_some(),
            "byte {position}"
        );
    }
}

#[test]
fn runs_of_different_things_or_lengths_are_told_apart() {
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

/// A tick in which the first agent has waited for the model.
fn with_a_wait() -> TickRecord {
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
fn a_wait_is_shown_with_its_answer_and_compared() {
    let record = with_a_wait();
    let text = tick_text(None, &record);
    let (_, wait) = text.split_once("wait for ").expect("a wait");
    let (asked, answered) = wait.split_once("answered:").expect("an answer");
    assert!(asked.contains("1.5") && answered.contains("0.75"), "{text}");
    let mut other = with_a_wait();
    other.awaited[0].outcome = Ok(vec![tensor(&[0.25])]).into();
    let difference = ticks(&header(1), Tick(3), &record, &other).expect("they differ");
    assert!(
        difference.to_string().contains("awaited 0 output 0"),
        "{difference}"
    );
    let mut other = with_a_wait();
    other.outcomes[1].effects.pop();
    assert!(ticks(&header(1), Tick(3), &record, &other).is_some());
}

#[test]
fn a_tick_whose_answers_are_not_those_of_its_waits_is_no_tick() {
    let header = header(1);
    let (agents, models) = (header.agents.len(), header.models.len());
    let judge = |record: &TickRecord| check::record(record, agents, models);
    assert!(judge(&with_a_wait()).is_ok());
    let mut unanswered = with_a_wait();
    unanswered.awaited.clear();
    assert!(judge(&unanswered).is_err());
    let mut of_another = with_a_wait();
    of_another.awaited[0].agent = AgentId(1);
    assert!(judge(&of_another).is_err());
    let mut twice = with_a_wait();
    twice.awaited.push(twice.awaited[0].clone());
    assert!(judge(&twice).is_err());
}
