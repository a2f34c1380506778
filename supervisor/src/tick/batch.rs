//! Batches: requests that go to the engine together, a pure function of the tick.
//!
//! Requests of one tick to one model are joined along their first dimension
//! when the model's probe found that no bit depends on the neighbours, and when
//! all other dimensions are equal. A group is closed at the model's `max_batch`
//! rows or at [`limit::BATCH_BYTES`], whichever comes first.

use super::planned::PlannedModel;
use crate::record::TickRecord;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::{BatchId, ModelId, Tick, VersionId};
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Requests that the engine runs together.
#[derive(Clone, Debug)]
pub struct InferenceBatch {
    /// Its number; batches are numbered in the order of submission.
    pub id: BatchId,
    /// The model.
    pub model: ModelId,
    /// The version that runs it.
    pub version: VersionId,
    /// The tick in which the requests were made.
    pub tick: Tick,
    /// The requests in commit order; none for a decode request, whose members are in [`super::generations`].
    pub members: Vec<Member>,
    /// Element type and joined shape of each input, in the model's order.
    pub inputs: Vec<(DType, Shape)>,
    /// Rows along the first dimension of all members; 0 for an unbatched request.
    pub(super) rows: u64,
    source: BatchInputs,
}

/// The bytes of the inputs of a batch.
#[derive(Clone, Debug)]
enum BatchInputs {
    /// Those of the requests in a record.
    Record(Arc<TickRecord>),
    /// An encoded decode request.
    DecodeRequest(Arc<[u8]>),
}

/// One request of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Position of its outcome in the tick.
    outcome: usize,
    /// Position of its effect in the outcome.
    effect: usize,
    /// Rows along the first dimension; 0 for an unbatched request.
    pub(super) rows: u64,
    /// The slot of its result.
    pub(super) slot: usize,
}

/// A request before it is put into a batch.
pub(super) struct BatchRequest<'a> {
    pub(super) outcome: usize,
    pub(super) effect: usize,
    pub(super) slot: usize,
    pub(super) model: ModelId,
    pub(super) inputs: &'a [Tensor],
}

impl InferenceBatch {
    /// The parts of an input, in the order of the members.
    pub fn input_parts(&self, input: usize) -> impl Iterator<Item = &[u8]> {
        let (record, payload) = match &self.source {
            BatchInputs::Record(record) => (Some(record), None),
            BatchInputs::DecodeRequest(payload) => (None, Some(&**payload)),
        };
        let of_requests = record.into_iter().flat_map(move |record| {
            self.members
                .iter()
                .map(move |member| input_of(record, member, input))
        });
        of_requests.chain(payload)
    }

    /// Takes the member with a slot out of it.
    pub(super) fn remove(&mut self, slot: usize) {
        self.members.retain(|member| member.slot != slot);
        self.reshape_inputs();
    }

    /// Shapes its inputs for the members that are left.
    fn reshape_inputs(&mut self) {
        self.rows = self.members.iter().map(|member| member.rows).sum();
        if self.rows > 0 {
            for held in &mut self.inputs {
                held.1 = with_rows(&held.1, self.rows);
            }
        }
    }

    /// Two batches with these members in halves, numbered from `next` on. An empty half is left out.
    pub(super) fn halves(&self, members: Vec<Member>, next: &mut BatchId) -> Vec<InferenceBatch> {
        let (front, back) = members.split_at(members.len().div_ceil(2));
        let halves = [front, back].into_iter().filter(|half| !half.is_empty());
        let of = |members: &[Member]| {
            let id = *next;
            *next = BatchId(id.0 + 1);
            let mut half = InferenceBatch {
                id,
                members: members.to_vec(),
                ..self.clone()
            };
            half.reshape_inputs();
            half
        };
        halves.map(of).collect()
    }

    /// The batch of a decode request.
    pub(super) fn of_decode_request(
        id: BatchId,
        (model, version): (ModelId, VersionId),
        tick: Tick,
        payload: Arc<[u8]>,
    ) -> InferenceBatch {
        let shape = Shape::new(&[payload.len() as u64]).expect("one dimension");
        InferenceBatch {
            id,
            model,
            version,
            tick,
            members: Vec::new(),
            inputs: vec![(DType::U8, shape)],
            rows: 0,
            source: BatchInputs::DecodeRequest(payload),
        }
    }

    /// True for a decode request.
    pub(super) fn is_decode_request(&self) -> bool {
        matches!(self.source, BatchInputs::DecodeRequest(_))
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
    next_batch: BatchId,
    batches: Vec<InferenceBatch>,
    /// Position of each model's newest batch.
    newest: BTreeMap<ModelId, usize>,
}

impl BatchBuilder {
    pub(super) fn new(tick: Tick, record: Arc<TickRecord>, next_batch: BatchId) -> BatchBuilder {
        BatchBuilder {
            tick,
            record,
            next_batch,
            batches: Vec::new(),
            newest: BTreeMap::new(),
        }
    }

    /// Adds a request to the newest batch that takes it, or to a new one. A version of the model answers in this tick.
    pub(super) fn add(&mut self, model: &PlannedModel, request: &BatchRequest<'_>) {
        let span = model.timeline.at(self.tick);
        let version = span.version.expect("it was admitted");
        let rows = if span.is_batched {
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
            && fits(batch, request.inputs, rows, model.settings.max_batch)
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
        let (id, tick) = (self.next_batch, self.tick);
        self.newest.insert(request.model, self.batches.len());
        self.batches.push(InferenceBatch {
            id,
            model: request.model,
            version,
            tick,
            members: vec![member],
            inputs,
            rows,
            source: BatchInputs::Record(record),
        });
        self.next_batch = BatchId(self.next_batch.0 + 1);
    }

    /// The batches in the order of their numbers, and the number of the next one.
    pub(super) fn finish(self) -> (Vec<InferenceBatch>, BatchId) {
        (self.batches, self.next_batch)
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

/// True if a request of `rows` rows fits into a batch.
fn fits(batch: &InferenceBatch, inputs: &[Tensor], rows: u64, max_batch: u64) -> bool {
    let total = batch.rows + rows;
    let fits = |held: &(DType, Shape), tensor: &Tensor| {
        let batched = with_rows(&tensor.shape, total);
        held.0 == tensor.dtype
            && held.1.dims().len() == tensor.shape.dims().len()
            && held.1.dims()[1..] == tensor.shape.dims()[1..]
            && batched
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
