//! A simulated agent: what it does is a function of its memory, its variables,
//! the tick and what reaches it, and of nothing else.
//!
//! Every step reads all of the memory that was ever written, so that a page which
//! is restored wrongly shows in the next outcome.

use super::fleet::{Character, ROW_BYTES};
use crate::tick::AwaitedRequest;
use shm_protocol::agent_state::{PAGE_BYTES, Page, SavedInstance, StateRecord};
use shm_protocol::agent_to_supervisor::{Effect, LogLevel, LogLine, Outcome, Status};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::{AgentEvent, OnFailure, RequestResult, Step};
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::collections::BTreeSet;
use std::sync::Arc;
use test_support::random::{TestRng, mix, mix_bytes};

/// Places of a page that are written to, one word each.
const PLACES: usize = 8;
/// Bytes from one of them to the next.
const STRIDE: usize = PAGE_BYTES / PLACES;

/// What of the fleet an agent's steps depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) agents: usize,
    pub(super) models: usize,
    /// The language model, if there is one.
    pub(super) writer: Option<ModelId>,
    pub(super) on_failure: OnFailure,
    pub(super) may_finish: bool,
    /// Models that steps may wait for; the first of so many.
    pub(super) waits_for: usize,
}

/// A simulated agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    number: AgentId,
    next_request: RequestId,
    life: Life,
    /// Pages that were written since the last snapshot.
    dirty: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
enum Life {
    Running {
        pages: Vec<Vec<u8>>,
        globals: [u64; 2],
    },
    Fallen,
    Halted,
}

impl Agent {
    /// One whose `init` has run.
    pub(super) fn new(number: AgentId, character: &Character) -> Agent {
        let mut agent = Agent {
            number,
            next_request: RequestId(0),
            life: Life::Halted,
            dirty: BTreeSet::new(),
        };
        agent.start(character);
        agent
    }

    fn start(&mut self, character: &Character) {
        let mut pages = vec![vec![0; PAGE_BYTES]; character.pages as usize];
        pages[0][..8].copy_from_slice(&character.seed.to_le_bytes());
        self.dirty = (0..character.pages).collect();
        self.life = Life::Running {
            pages,
            globals: [character.seed, 0],
        };
    }

    /// Takes a step as far as these answers go: to its end, or to what it waits for next. Who has the answer to that
    /// begins the step again, with the agent as it was before.
    pub(super) fn step(
        &mut self,
        tick: Tick,
        step: &Step,
        character: &Character,
        around: &Surroundings,
        answers: &[Arc<RequestResult>],
    ) -> Result<Outcome, AwaitedRequest> {
        if matches!(self.life, Life::Fallen) {
            self.start(character);
        }
        let Life::Running { pages, globals } = &mut self.life else {
            panic!(
                "agent {} takes no further steps, and is stepped in tick {tick}",
                self.number
            );
        };
        let mut mixed = digest(pages, globals, tick, &step.events);
        let mut effects = Vec::new();
        if character.waits && around.waits_for > 0 {
            let most = TestRng::for_purpose(mixed, 8).pick(&[0, 0, 0, 1, 1, 2, 4]);
            for number in 0..most {
                let awaiting = awaiting(&mut TestRng::for_purpose(mixed, 9), around.waits_for);
                let answer = answers.get(number).ok_or_else(|| awaiting.clone())?;
                effects.push(awaiting.effect());
                mixed = mix_answer(mixed, answer);
            }
        }
        let mut random = TestRng::for_purpose(mixed, 2);
        write(pages, &mut self.dirty, &mut random);
        *globals = [mixed, globals[1] + 1];
        let fuel_used = random.below(10_000);
        if character.fails_one_in > 0 && random.chance(1, character.fails_one_in) {
            self.life = match around.on_failure {
                OnFailure::Halt => Life::Halted,
                OnFailure::Restart => Life::Fallen,
            };
            let status = match random.chance(1, 2) {
                true => Status::Trapped(format!("trapped with {mixed:x}")),
                false => Status::OutOfFuel,
            };
            effects.push(log(&mut random));
            return Ok(Outcome {
                agent: self.number,
                status,
                fuel_used,
                effects,
            });
        }
        effects.extend(self.effects(&mut random, around));
        Ok(Outcome {
            agent: self.number,
            status: Status::Completed,
            fuel_used,
            effects,
        })
    }

    fn effects(&mut self, random: &mut TestRng, around: &Surroundings) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..random.below(3) {
            effects.push(Effect::Send {
                to: AgentId::from_index(random.index(around.agents)),
                payload: bytes(random, 24),
            });
        }
        if around.models > 0 {
            for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2]) {
                let model = ModelId::from_index(random.index(around.models));
                effects.push(match around.writer == Some(model) {
                    true => self.text(random, model),
                    false => self.request(random, model),
                });
            }
        }
        if random.chance(1, 3) {
            effects.push(Effect::Emit {
                topic: "said".to_owned(),
                payload: bytes(random, 16),
            });
        }
        if random.chance(1, 6) {
            effects.push(log(random));
        }
        if around.may_finish && random.chance(1, 40) {
            let reason = format!("enough after {:x}", random.below(1 << 20));
            effects.push(Effect::Finish { reason });
        }
        effects
    }

    fn next_request(&mut self) -> RequestId {
        let request = self.next_request;
        self.next_request = RequestId(request.0 + 1);
        request
    }

    /// Asks for a text, or that one of the last ends.
    fn text(&mut self, random: &mut TestRng, model: ModelId) -> Effect {
        let request = self.next_request();
        let data = match random.below(6) {
            0 => format!(
                "{{\"cancel\": {}}}",
                request.0.saturating_sub(random.below(4))
            ),
            1 => format!(
                "{{\"prompt\": \"{:x}\", \"deadline_ticks\": {}}}",
                random.next_u64(),
                random.within(1..=5)
            ),
            2 => "this is no request".to_owned(),
            _ => format!("{{\"prompt\": \"{:x}\"}}", random.next_u64()),
        };
        Effect::Submit {
            request,
            model,
            inputs: vec![Tensor {
                dtype: DType::U8,
                shape: Shape::new(&[data.len() as u64]).expect("one dimension"),
                data: data.into_bytes(),
            }],
        }
    }

    fn request(&mut self, random: &mut TestRng, model: ModelId) -> Effect {
        Effect::Submit {
            request: self.next_request(),
            model,
            inputs: rows(random),
        }
    }

    /// What it says of its state: everything that changed since it said so last, or everything.
    pub(super) fn snapshot(&mut self, full: bool, pages_per_record: usize) -> Vec<StateRecord> {
        let dirty = std::mem::take(&mut self.dirty);
        let life = match &self.life {
            Life::Running { pages, globals } => SavedInstance::Running {
                memory_bytes: (pages.len() * PAGE_BYTES) as u64,
                globals: globals.to_vec(),
            },
            Life::Fallen => SavedInstance::Failed,
            Life::Halted => SavedInstance::Halted,
        };
        let saved = match &self.life {
            Life::Running { pages, .. } => saved_pages(pages, &dirty, full),
            Life::Fallen | Life::Halted => Vec::new(),
        };
        let mut parts: Vec<Vec<Page>> = saved
            .chunks(pages_per_record)
            .map(<[Page]>::to_vec)
            .collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let last = parts.len() - 1;
        let record = |(position, pages)| StateRecord {
            agent: self.number,
            next_request: self.next_request,
            life: life.clone(),
            pages,
            is_last: position == last,
        };
        parts.into_iter().enumerate().map(record).collect()
    }

    /// An agent with a state that one gave before. The records are those of one state, all of them.
    pub(super) fn restored(records: &[StateRecord]) -> Agent {
        let last = records.last().expect("a state has a record");
        let life = match &last.life {
            SavedInstance::Running {
                memory_bytes,
                globals,
            } => {
                let count = usize::try_from(*memory_bytes).expect("little") / PAGE_BYTES;
                let mut pages = vec![vec![0; PAGE_BYTES]; count];
                for page in records.iter().flat_map(|record| &record.pages) {
                    if !page.bytes.is_empty() {
                        pages[page.index as usize].copy_from_slice(&page.bytes);
                    }
                }
                let globals = globals[..].try_into().expect("an agent has two variables");
                Life::Running { pages, globals }
            }
            SavedInstance::Failed => Life::Fallen,
            SavedInstance::Halted => Life::Halted,
        };
        Agent {
            number: last.agent,
            next_request: last.next_request,
            life,
            dirty: BTreeSet::new(),
        }
    }
}

/// A number that depends on everything there is.
fn digest(pages: &[Vec<u8>], globals: &[u64; 2], tick: Tick, events: &[AgentEvent]) -> u64 {
    let mut mixed = mix(mix(globals[0], globals[1]), tick.0);
    for page in pages {
        for place in (0..PAGE_BYTES).step_by(STRIDE) {
            mixed = mix_bytes(mixed, &page[place..place + 8]);
        }
    }
    for event in events {
        mixed = match event {
            AgentEvent::Message { sender, payload } => {
                mix_bytes(mix(mixed, sender.0.into()), payload)
            }
            AgentEvent::Inference {
                request,
                model,
                outcome,
            } => mix_answer(mix(mix(mixed, request.0), model.0.into()), outcome),
        };
    }
    mixed
}

fn mix_answer(mixed: u64, answer: &RequestResult) -> u64 {
    match answer {
        Ok(outputs) => outputs
            .iter()
            .fold(mixed, |mixed, tensor| mix_bytes(mixed, &tensor.data)),
        Err(reason) => mix_bytes(!mixed, reason.as_bytes()),
    }
}

/// Rows for a model.
fn rows(random: &mut TestRng) -> Vec<Tensor> {
    let rows = random.within(1..=2);
    let data = (0..rows)
        .flat_map(|_| random.next_u64().to_le_bytes())
        .collect();
    vec![Tensor {
        dtype: DType::U8,
        shape: Shape::new(&[rows, ROW_BYTES as u64]).expect("two dimensions"),
        data,
    }]
}

fn awaiting(random: &mut TestRng, models: usize) -> AwaitedRequest {
    let model = ModelId::from_index(random.index(models));
    let inputs = Arc::new(rows(random));
    AwaitedRequest { model, inputs }
}

/// Changes a few places of the memory; sometimes back to zero.
fn write(pages: &mut [Vec<u8>], dirty: &mut BTreeSet<u32>, random: &mut TestRng) {
    for _ in 0..random.within(1..=3) {
        let page = random.index(pages.len());
        let place = random.index(PLACES) * STRIDE;
        let word = if random.chance(1, 4) {
            0
        } else {
            random.next_u64()
        };
        pages[page][place..place + 8].copy_from_slice(&word.to_le_bytes());
        dirty.insert(u32::try_from(page).expect("few"));
    }
}

fn saved_pages(pages: &[Vec<u8>], dirty: &BTreeSet<u32>, full: bool) -> Vec<Page> {
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    let saved = (0_u32..).zip(pages).filter(|(index, page)| match full {
        true => !is_zero(page),
        false => dirty.contains(index),
    });
    saved
        .map(|(index, page)| Page {
            index,
            bytes: if is_zero(page) {
                Vec::new()
            } else {
                page.clone()
            },
        })
        .collect()
}

fn bytes(random: &mut TestRng, most: u64) -> Vec<u8> {
    (0..random.below(most))
        .map(|_| random.next_u64().to_le_bytes()[0])
        .collect()
}

fn log(random: &mut TestRng) -> Effect {
    Effect::Log(LogLine {
        level: LogLevel::Info,
        text: format!("{:x}", random.next_u64()),
    })
}
