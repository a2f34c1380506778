//! Every variant of the error types with sample values: its class and its message stand in a snapshot, so that they are
//! read when they change. A new variant does not compile before it is listed, and fails until it has a sample.

use super::*;
use crate::host::{HostKind, IllegalTransition, Lifecycle, LifecycleEvent, PoolError, SpawnError};
use crate::journal::{HeaderFault, MarkFault, RecordFault, Torn, TornKind};
use crate::record::RunId;
use crate::rundir::{RunEvent, RunState};
use rustix::io::Errno;
use shm_protocol::codec::{self, DecodeError};
use shm_protocol::id::{AgentId, Incarnation};
use shm_protocol::ring::RingViolation;
use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The listed variants of an enum: the name of a value's variant, by a match without a wildcard, and all names.
macro_rules! variants {
    ($name:ident, $enum:ident: $($variant:ident),* $(,)?) => {
        fn $name() -> (fn(&$enum) -> &'static str, &'static [&'static str]) {
            (
                |value| match value {
                    $($enum::$variant { .. } => stringify!($variant),)*
                },
                &[$(stringify!($variant)),*],
            )
        }
    };
}

variants!(run_errors, RunError: Fleet, Source, Folder, RunDir, Journal, Component, Crew, AgentRefused, LostWithModel,
    ModelRefused, Signature, Ended, Mismatch, Checkpoint, Journaled, SavedMachine, Nondeterminism, LimitReached,
    AlreadyFurther, Changed, EngineChanged, ProviderLost, OtherVersion, NobodyRuns, NotListening, EndedFirst,
    ChangeRefused, System, OtherBuild, OtherFleet);
variants!(host_errors, HostSetError: Spawn, Pool, SocketDir, InvalidRing, Gone, Died, Failed, TimedOut, Decode, UnexpectedRecord,
    Version, Lifecycle, Stopped);
variants!(run_dir_errors, RunDirError: InUse, AlreadyARun, NotEmpty, NotARun, Io, ObjectMissing, ObjectDamaged, Launch,
    Outbox, OutboxAltered, OutboxPoisoned);
variants!(journal_errors, JournalError: Write, TooLarge, Sync, Thread, Poisoned, Read, NotBegun, MissingSegment,
    Foreign, Corrupt, DamagedTail, Lost, Mark, Cut, RunDir);
variants!(record_faults, RecordFault: Header, Short, Digest, Followed, Synced, Run, Previous, Order, AfterSeal, Empty,
    Payload, Content);
variants!(checkpoint_errors, CheckpointError: Io, Missing, Damaged, OtherRun, OtherBuild, Page, State);
variants!(model_file_errors, ModelFilesError: Read, Graph, Elsewhere, Weights, NoMemory, TooLarge);
variants!(artifact_errors, ArtifactError: Refused, Failed, System);
variants!(run_events, RunEvent: FaultFired, HostLost, HostRestarted, CheckpointFailed, OutboxRepaired, Resumed,
    ProviderRefused, ProbeFailed, Verdict, Unreadable);

/// Compares the samples with their snapshot.
///
/// # Panics
/// Without a sample for each variant.
fn snapshot<T: Display>(
    file: &str,
    (name, all): (fn(&T) -> &'static str, &'static [&'static str]),
    samples: &[T],
    class: impl Fn(&T) -> String,
) {
    let sampled: Vec<&str> = samples.iter().map(name).collect();
    let missing: Vec<_> = all.iter().filter(|name| !sampled.contains(name)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
    let text = |sample: &T| format!("{}{}: {sample}\n", name(sample), class(sample));
    let text: String = samples.iter().map(text).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(file, text));
}

fn of_kind(kind: ErrorKind) -> String {
    format!(" ({kind:?}, exit code {})", kind.exit_code())
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn full() -> io::Error {
    Errno::NOSPC.into()
}

fn gone() -> io::Error {
    Errno::NOENT.into()
}

fn limit() -> io::Error {
    Errno::AGAIN.into()
}

fn ended_by(signal: i32) -> HostSetError {
    HostSetError::Died {
        kind: HostKind::Inference,
        host: HostId(1),
        status: ExitStatus::from_raw(signal),
        stderr_tail: text("out of luck"),
    }
}

fn undecodable() -> DecodeError {
    codec::decode_record::<u64>(&[]).expect_err("no bytes")
}

const JOURNAL: &str = "run/journal/00000001.lkj";

#[test]
fn every_error_of_a_run() {
    let reached = |stop, key| RunError::LimitReached {
        stop,
        kind: text("agent host"),
        host: HostId(2),
        tick: Tick(9),
        key,
        cause: text("it was killed by signal 9"),
    };
    let provider = |has_next, asks| RunError::ProviderLost {
        model: text("mlp"),
        provider: text("cuda"),
        reasons: text("CUDA failure 100"),
        has_next,
        asks,
    };
    let samples = [
        RunError::Fleet(FleetError::Unreadable {
            what: "fleet file",
            path: path("fleets"),
            source: gone(),
        }),
        RunError::Source(SourceError::NoSuchPart {
            name: text("cuonter"),
        }),
        RunError::Folder(ModelFilesError::Read {
            path: path("mlp.onnx"),
            source: gone(),
        }),
        RunError::RunDir(RunDirError::NotARun { path: path("run") }),
        RunError::Journal(JournalError::Foreign {
            file: path("run/journal/notes.txt"),
        }),
        RunError::Component {
            agent: text("one"),
            source: ArtifactError::Refused {
                reason: text("it is not a component"),
            },
        },
        RunError::Crew(HostSetError::Gone { host: HostId(1) }),
        RunError::AgentRefused(text("agent one: its `init` failed: no peer")),
        RunError::LostWithModel {
            model: text("mlp"),
            what: "was loaded",
            source: ended_by(11),
        },
        RunError::LostWithModel {
            model: text("mlp"),
            what: "was loaded",
            source: ended_by(9),
        },
        RunError::ModelRefused {
            blame: Blame::Demand,
            message: text("model `mlp`: provider cuda is refused"),
        },
        RunError::Signature {
            model: text("mlp"),
            what: "inputs",
            asked: text("x f32[?,32]"),
            found: text("x f32[?,64]"),
        },
        RunError::Ended {
            source: Box::new(reached(StopReason::Host { losses: 5 }, None)),
            ticks: 8,
            run_dir: path("run"),
        },
        RunError::Mismatch {
            agent: text("one"),
            tick: Tick(9),
            text: text("input x takes f32[?,64], got f32[1,63]"),
        },
        RunError::Checkpoint(CheckpointError::Missing {
            path: path("run/checkpoints/64.checkpoint"),
        }),
        RunError::Journaled(Violation::WrongTick {
            host: HostId(1),
            answered: Tick(8),
            open: Tick(9),
        }),
        RunError::SavedMachine(PlanMismatch),
        RunError::Nondeterminism {
            agent: text("one"),
            what: text("tick 9, outcome 0, payload, byte 3"),
        },
        reached(StopReason::Run { losses: 20 }, Some("deadline_ms")),
        reached(StopReason::Deadline { misses: 3 }, Some("deadline_ms")),
        RunError::AlreadyFurther {
            ticks: 5,
            committed: Tick(9),
        },
        RunError::Changed {
            difference: text("fleet digest 01 / 02"),
        },
        RunError::EngineChanged {
            before: text("onnxruntime 1.31.0"),
            now: text("onnxruntime 1.31.1"),
        },
        provider(false, false),
        provider(true, false),
        provider(true, true),
        RunError::OtherVersion {
            model: text("mlp"),
            version: text("second"),
            what: "inputs",
            asked: text("x f32[?,64]"),
            found: text("a f32[?,3]"),
        },
        RunError::NobodyRuns { dir: path("run") },
        RunError::NotListening { dir: path("run") },
        RunError::EndedFirst { dir: path("run") },
        RunError::ChangeRefused {
            kind: ErrorKind::Machine,
            message: text("model mlp, version second, cannot be loaded"),
        },
        RunError::System {
            what: "memory for the model",
            source: Errno::NOMEM.into(),
        },
        RunError::OtherBuild {
            what: "lockstep",
            recorded: text("0.1.0"),
            present: text("0.2.0"),
        },
        RunError::OtherFleet {
            path: "runs/poles-1".into(),
            what: text("agent `left`"),
        },
    ];
    snapshot("run_error", run_errors(), &samples, |error| {
        of_kind(error.kind())
    });
}

#[test]
fn every_error_of_hosts() {
    let host = HostId(1);
    let kind = HostKind::Agents;
    let samples = [
        HostSetError::Spawn(SpawnError::Start {
            host,
            source: limit(),
        }),
        HostSetError::Spawn(SpawnError::Connect {
            host,
            source: io::Error::other("it ended before it opened its control channel"),
        }),
        HostSetError::Pool(PoolError::Wait(limit())),
        HostSetError::SocketDir(gone()),
        HostSetError::SocketDir(full()),
        HostSetError::InvalidRing {
            host,
            violation: RingViolation {
                position: 128,
                reason: "the length is zero",
            },
        },
        HostSetError::Gone { host },
        ended_by(6),
        ended_by(9),
        HostSetError::Failed {
            blame: Blame::Input,
            message: text("agent host: it cannot load the agent"),
        },
        HostSetError::TimedOut { seconds: 60.0 },
        HostSetError::Decode {
            kind,
            host,
            source: undecodable(),
        },
        HostSetError::UnexpectedRecord {
            kind,
            host,
            record: 103,
        },
        HostSetError::Version {
            kind,
            host,
            theirs: 3,
        },
        HostSetError::Lifecycle(IllegalTransition {
            state: Lifecycle::Ended,
            event: LifecycleEvent::ToldStart,
        }),
        HostSetError::Stopped,
    ];
    snapshot("host_set_error", host_errors(), &samples, |error| {
        of_kind(ErrorKind::of_hosts(error))
    });
}

#[test]
fn every_error_of_a_run_directory() {
    let in_use = |holder: &str| RunDirError::InUse {
        path: path("run"),
        holder: text(holder),
    };
    let already = |state| RunDirError::AlreadyARun {
        path: path("run"),
        state,
    };
    let failed = |source| RunDirError::Io {
        action: "write",
        path: path("run/outbox.jsonl"),
        source,
    };
    let samples = [
        in_use("pid 123"),
        in_use(""),
        already(RunState::Finished { ticks: Tick(9) }),
        already(RunState::Interrupted {
            ticks: Tick(9),
            until: Some(Tick(20)),
        }),
        already(RunState::Damaged {
            reason: text("the digest does not match the record"),
        }),
        RunDirError::NotEmpty {
            path: path("run"),
            entry: text("notes.txt"),
        },
        RunDirError::NotARun { path: path("run") },
        failed(full()),
        failed(Errno::ACCESS.into()),
        failed(Errno::IO.into()),
        failed(Errno::MFILE.into()),
        RunDirError::ObjectMissing {
            file: path("run/objects/01"),
        },
        RunDirError::ObjectDamaged {
            file: path("run/objects/01"),
            expected: [1; 32],
            found: [2; 32],
        },
        RunDirError::Launch {
            path: path("run/launch.json"),
            source: serde_json::from_str::<u64>("{").expect_err("not a number"),
        },
        RunDirError::Outbox {
            path: path("run/outbox.jsonl"),
            offset: 120,
            line: 3,
            reason: text("it has lines of ticks that are not in the journal"),
        },
        RunDirError::OutboxAltered {
            path: path("run/outbox.jsonl"),
            bytes: 0,
            written: 900,
        },
        RunDirError::OutboxPoisoned {
            path: path("run/outbox.jsonl"),
        },
    ];
    snapshot("run_dir_error", run_dir_errors(), &samples, |error| {
        of_kind(ErrorKind::of_run_dir(error))
    });
}

#[test]
fn every_error_of_a_journal() {
    let file = || path(JOURNAL);
    let write = |source| JournalError::Write {
        file: file(),
        tick: Tick(9),
        bytes: 400,
        written: 120,
        source,
    };
    let samples = [
        write(full()),
        write(Errno::IO.into()),
        JournalError::TooLarge {
            tick: Tick(9),
            bytes: 500,
            limit: 400,
        },
        JournalError::Sync {
            file: file(),
            durable: Tick(8),
            source: Errno::IO.into(),
        },
        JournalError::Thread { source: limit() },
        JournalError::Poisoned {
            folder: path("run/journal"),
        },
        JournalError::Read {
            file: file(),
            offset: 120,
            source: Errno::IO.into(),
        },
        JournalError::NotBegun {
            folder: path("run/journal"),
        },
        JournalError::MissingSegment {
            file: file(),
            next: path("run/journal/00000002.lkj"),
        },
        JournalError::Foreign { file: file() },
        JournalError::Corrupt {
            file: file(),
            offset: 120,
            after: Some(Tick(8)),
            reason: RecordFault::Digest,
        },
        JournalError::DamagedTail {
            torn: torn(TornKind::Damaged {
                reason: text("the digest does not match the record"),
            }),
        },
        JournalError::DamagedTail {
            torn: torn(TornKind::Unfinished),
        },
        JournalError::DamagedTail {
            torn: torn(TornKind::Unsynced {
                reason: text("there is no record here"),
            }),
        },
        JournalError::Lost {
            file: file(),
            ticks: Tick(8),
            synced: Tick(9),
        },
        JournalError::Mark {
            file: file(),
            tick: Tick(9),
            offset: 120,
            reason: MarkFault::Beyond {
                segments: 1,
                bytes: 100,
            },
        },
        JournalError::Cut {
            file: file(),
            bytes: 120,
            source: Errno::IO.into(),
        },
        JournalError::RunDir(RunDirError::NotARun { path: path("run") }),
    ];
    snapshot("journal_error", journal_errors(), &samples, |error| {
        of_kind(ErrorKind::of_journal(error))
    });
}

fn torn(kind: TornKind) -> Torn {
    Torn {
        file: path(JOURNAL),
        offset: 120,
        bytes: 40,
        kind,
    }
}

#[test]
fn every_fault_of_a_record() {
    let boxed = || Box::new(RecordFault::Digest);
    let samples = [
        RecordFault::Header(HeaderFault::Magic),
        RecordFault::Header(HeaderFault::Checksum {
            found: 1,
            computed: 2,
        }),
        RecordFault::Short,
        RecordFault::Digest,
        RecordFault::Followed {
            fault: boxed(),
            file: path(JOURNAL),
            follows: 400,
        },
        RecordFault::Synced {
            fault: boxed(),
            tick: Tick(9),
        },
        RecordFault::Run {
            found: RunId([1; 16]),
            expected: RunId([2; 16]),
        },
        RecordFault::Previous {
            found: [1; 32],
            expected: [2; 32],
        },
        RecordFault::Order {
            found: "tick",
            tick: Tick(9),
        },
        RecordFault::AfterSeal,
        RecordFault::Empty,
        RecordFault::Payload(undecodable()),
        RecordFault::Content(text("agent 7 is named, and the run has 2 agents")),
    ];
    snapshot("record_fault", record_faults(), &samples, |_| String::new());
}

#[test]
fn every_error_of_a_checkpoint() {
    let file = || path("run/checkpoints/64.checkpoint");
    let samples = [
        CheckpointError::Io {
            action: "write",
            path: file(),
            source: full(),
        },
        CheckpointError::Missing { path: file() },
        CheckpointError::Damaged {
            path: file(),
            reason: "its digest does not match",
        },
        CheckpointError::OtherRun {
            path: file(),
            found: RunId([1; 16]),
            expected: RunId([2; 16]),
        },
        CheckpointError::OtherBuild {
            path: file(),
            found: text("lockstep 0.1.0 with wasmtime 48"),
            expected: text("lockstep 0.2.0 with wasmtime 48"),
        },
        CheckpointError::Page {
            path: file(),
            slot: 3,
            expected: [1; 32],
            found: [2; 32],
        },
        CheckpointError::State {
            agent: AgentId(1),
            tick: Tick(64),
            reason: text("it was not requested"),
        },
    ];
    snapshot("checkpoint_error", checkpoint_errors(), &samples, |error| {
        of_kind(ErrorKind::of_checkpoint(error))
    });
}

#[test]
fn every_error_of_model_files_and_of_compilation() {
    let samples = [
        ModelFilesError::Read {
            path: path("mlp.onnx"),
            source: gone(),
        },
        ModelFilesError::Graph {
            path: path("models/talk"),
            found: text("no .onnx file"),
        },
        ModelFilesError::Elsewhere {
            path: path("mlp.onnx"),
            location: text("../weights.bin"),
        },
        ModelFilesError::Weights {
            path: path("mlp.onnx"),
            location: text("weights.bin"),
            source: gone(),
        },
        ModelFilesError::NoMemory {
            path: path("mlp.onnx"),
            bytes: 3_000,
            available: 2_000,
        },
        ModelFilesError::TooLarge {
            path: path("mlp.onnx"),
            bytes: 3_000,
        },
    ];
    snapshot(
        "model_files_error",
        model_file_errors(),
        &samples,
        |error| of_kind(ErrorKind::of_model_files(error)),
    );
    let samples = [
        ArtifactError::Refused {
            reason: text("it is not a component"),
        },
        ArtifactError::Failed {
            ending: text("it was ended by signal 24"),
            said: text("; it said: too deep"),
        },
        ArtifactError::System {
            action: "start",
            source: limit(),
        },
    ];
    snapshot("artifact_error", artifact_errors(), &samples, |error| {
        of_kind(ErrorKind::of_artifact(error))
    });
}

#[test]
fn every_event_of_a_run() {
    let (host, incarnation, tick) = (HostId(1), Incarnation(2), Tick(17));
    let restarted = |role: &str, checkpoint| RunEvent::HostRestarted {
        host,
        role: text(role),
        incarnation,
        tick,
        checkpoint,
        reexecuted: 1,
        ms: 3.5,
        cause: text("killed by signal 9"),
    };
    let samples = [
        RunEvent::FaultFired {
            rule: 1,
            kind: text("kill"),
            point: text("before-step"),
            tick,
            target: text("agent `b`"),
        },
        RunEvent::HostLost {
            host,
            role: text("agents"),
            incarnation,
            tick,
            cause: text("killed by signal 9"),
        },
        restarted("agents", Some(16)),
        restarted("agents", None),
        restarted("inference", None),
        RunEvent::CheckpointFailed {
            tick,
            reason: text("its digest does not match"),
        },
        RunEvent::OutboxRepaired {
            tick,
            found_bytes: 900,
            kept_bytes: 300,
            written_bytes: 1_200,
        },
        RunEvent::Resumed {
            tick,
            checkpoint: None,
            cut_bytes: 12,
            reexecuted: 17,
            ms: 80.25,
        },
        RunEvent::ProviderRefused {
            model: text("mlp"),
            provider: text("cuda"),
            reason: text("library-missing"),
            detail: text("libcuda.so.1"),
        },
        RunEvent::ProbeFailed {
            model: text("mlp"),
            detail: text("out of memory"),
        },
        RunEvent::Verdict {
            tick,
            text: text("agent b is quarantined"),
        },
        RunEvent::Unreadable {
            line: 3,
            reason: text("expected value at line 1 column 1"),
        },
    ];
    snapshot("run_event", run_events(), &samples, |_| String::new());
}
