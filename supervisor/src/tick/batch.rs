//! Which requests go to the engine together: a pure function of the tick.
//!
//! Requests of one tick to one model are joined along their first dimension
//! when the model's probe found that no bit depends on the neighbours, and when
//! all other dimensions are equal. A group is closed at the model's `max_batch`
//! rows or at [`limit::BATCH_BYTES`], whichever comes first.

use super::plan::PlannedModel;
use crate::record::TickRecord;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::{BatchId, ModelId, Tick, VersionId};
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Requests that the engine runs at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its number; batches are numbered in the order of submission.
    pub id: BatchId,
    /// The model.
    pub model: ModelId,
    /// The version that runs it.
    pub version: VersionId,
    /// The tick in which the requests were made.
    pub tick: Tick,
    /// The requests in commit order; none for an order to a language model, whose texts are kept elsewhere.
    pub members: Vec<Member>,
    /// Element type and joined shape of each input, in the model's order.
    pub inputs: Vec<(DType, Shape)>,
    /// Rows along the first dimension of all members; 0 for a request that runs alone.
    pub(super) rows: u64,
    source: BatchInputs,
}

/// Where the bytes of a batch are.
#[derive(Clone, Debug)]
enum BatchInputs {
    /// With the requests.
    Record(Arc<TickRecord>),
    /// They were made for it.
    Order(Arc<[u8]>),
}

/// One request of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Position of its outcome in the tick.
    outcome: usize,
    /// Position of its effect in the outcome.
    effect: usize,
    /// Rows along the first dimension; 0 when the request runs alone.
    pub(super) rows: u64,
    /// Where its result goes.
    pub(super) slot: usize,
}

/// A request that is about to join a batch.
pub(super) struct BatchRequest<'a> {
    pub(super) outcome: usize,
    pub(super) effect: usize,
    pub(super) slot: usize,
    pub(super) model: ModelId,
    pub(super) inputs: &'a [Tensor],
}

impl Batch {
    /// The parts of an input, in the order in which they are joined.
    pub fn input_parts(&self, input: usize) -> impl Iterator<Item = &[u8]> {
        let (record, order) = match &self.source {
            BatchInputs::Record(record) => (Some(record), None),
            BatchInputs::Order(order) => (None, Some(&**order)),
        };
        let of_requests = record.into_iter().flat_map(move |record| {
            self.members
                .iter()
                .map(move |member| input_of(record, member, input))
        });
        of_requests.chain(order)
    }

    /// Takes the member with a slot out of it.
    pub(super) fn remove(&mut self, slot: usize) {
        self.members.retain(|member| member.slot != slot);
        self.count_rows();
    }

    /// Shapes its inputs for the members that are left.
    fn count_rows(&mut self) {
        self.rows = self.members.iter().map(|member| member.rows).sum();
        if self.rows > 0 {
            for held in &mut self.inputs {
                held.1 = with_rows(&held.1, self.rows);
            }
        }
    }

    /// The same for fewer requests: these members in halves, numbered from `next` on. A half without members is none.
    pub(super) fn halves(&self, members: Vec<Member>, next: &mut BatchId) -> Vec<Batch> {
        let (front, back) = members.split_at(members.len().div_ceil(2));
        let halves = [front, back].into_iter().filter(|half| !half.is_empty());
        let of = |members: &[Member]| {
            let id = *next;
            *next = BatchId(id.0 + 1);
            let mut half = Batch {
                id,
                members: members.to_vec(),
                ..self.clone()
            };
            half.count_rows();
            half
        };
        halves.map(of).collect()
    }

    /// An order to a language model.
    pub(super) fn of_order(
        id: BatchId,
        (model, version): (ModelId, VersionId),
        tick: Tick,
        order: Arc<[u8]>,
    ) -> Batch {
        let shape = Shape::new(&[order.len() as u64]).expect("one dimension");
        Batch {
            id,
            model,
            version,
            tick,
            members: Vec::new(),
            inputs: vec![(DType::U8, shape)],
            rows: 0,
            source: BatchInputs::Order(order),
        }
    }

    /// Whether this is an order to a language model.
    pub(super) fn is_order(&self) -> bool {
        matches!(self.source, BatchInputs::Order(_))
    }
}

/// The bytes of an input of a request.
fn input_of<'a>(record: &'a TickRecord, member: &Member, input: usize) -> &'a [u8] {
    match &record.outcomes[member.outcome].effects[member.effect] {
        Effect::Submit { inputs, .. } => inputs[input].data.as_slice(),
        Effect::Infer { inputs, .. } => inputs[input].data.as_slice(),
        effect => unreachable!("a member of a batch is a request, not {effect:?}"),
    }
}

/// Forms the batches of one tick.
pub(super) struct BatchBuilder {
    tick: Tick,
    record: Arc<TickRecord>,
    next: BatchId,
    batches: Vec<Batch>,
    /// Position of each model's newest batch.
    newest: BTreeMap<ModelId, usize>,
}

impl BatchBuilder {
    pub(super) fn new(tick: Tick, record: Arc<TickRecord>, next: BatchId) -> BatchBuilder {
        BatchBuilder {
            tick,
            record,
            next,
            batches: Vec::new(),
            newest: BTreeMap::new(),
        }
    }

    /// Adds a request to the newest batch that takes it, or to a new one. A version of the model answers in this tick.
    pub(super) fn add(&mut self, model: &PlannedModel, request: &BatchRequest<'_>) {
        let life = model.lives.at(self.tick);
        let version = life.version.expect("it was admitted");
        let rows = if life.joined {
            common_rows(request.inputs)
        } else {
            0
        };
        let member = Member {
            outcome: request.outcome,
            effect: request.effect,
            rows,
            slot: request.slot,
        };
        let newest = self
            .newest
            .get(&request.model)
            .map(|position| &mut self.batches[*position]);
        if let Some(batch) = newest
            && rows > 0
            && joins(batch, request.inputs, rows, model.max_batch)
        {
            batch.rows += rows;
            for held in &mut batch.inputs {
                held.1 = with_rows(&held.1, batch.rows);
            }
            batch.members.push(member);
            return;
        }
        let inputs = request
            .inputs
            .iter()
            .map(|tensor| (tensor.dtype, tensor.shape))
            .collect();
        let record = Arc::clone(&self.record);
        let (id, tick) = (self.next, self.tick);
        self.newest.insert(request.model, self.batches.len());
        self.batches.push(Batch {
            id,
            model: request.model,
            version,
            tick,
            members: vec![member],
            inputs,
            rows,
            source: BatchInputs::Record(record),
        });
        self.next = BatchId(self.next.0 + 1);
    }

    /// The batches in the order of their numbers, and the number of the next one.
    pub(super) fn finish(self) -> (Vec<Batch>, BatchId) {
        (self.batches, self.next)
    }
}

/// The first dimension that all inputs share; 0 if they share none, or one over
/// a bound that could overflow a sum.
fn common_rows(inputs: &[Tensor]) -> u64 {
    let first = inputs
        .first()
        .and_then(|tensor| tensor.shape.dims().first().copied())
        .unwrap_or(0);
    let shared = inputs
        .iter()
        .all(|tensor| tensor.shape.dims().first() == Some(&first));
    if shared && first <= limit::TENSOR_BYTES as u64 {
        first
    } else {
        0
    }
}

/// Whether a request of `rows` rows may join a batch.
fn joins(batch: &Batch, inputs: &[Tensor], rows: u64, max_batch: u64) -> bool {
    let total = batch.rows + rows;
    let fits = |held: &(DType, Shape), tensor: &Tensor| {
        let joined = with_rows(&tensor.shape, total);
        held.0 == tensor.dtype
            && held.1.dims().len() == tensor.shape.dims().len()
            && held.1.dims()[1..] == tensor.shape.dims()[1..]
            && joined
                .bytes(tensor.dtype)
                .is_ok_and(|bytes| bytes <= limit::BATCH_BYTES)
    };
    batch.rows > 0
        && total <= max_batch
        && batch
            .inputs
            .iter()
            .zip(inputs)
            .all(|(held, tensor)| fits(held, tensor))
}

/// A shape with another first dimension.
pub(super) fn with_rows(shape: &Shape, rows: u64) -> Shape {
    let mut dims = [0; limit::RANK];
    let rank = shape.dims().len();
    dims[..rank].copy_from_slice(shape.dims());
    dims[0] = rows;
    Shape::new(&dims[..rank]).expect("the rank is that of a shape")
}
