//! Shared by the contracts: one engine for the process, because there can be no second, the models of the tree, and
//! both ends of a link in one process.
#![allow(dead_code, reason = "each contract uses a part of it")]
#![allow(unreachable_pub, reason = "helpers of tests")]

pub mod onnx;

use inference_host::backend::{InferenceBackend, LoadOptions, LoadedModel, Model};
use inference_host::library::CheckedLibrary;
use inference_host::model_registry::ModelRegistry;
use inference_host::onnx::OnnxRuntime;
use inference_host::serve::serve;
use shm_protocol::codec;
use shm_protocol::id::{BatchId, Incarnation, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{BATCH_FAILED, BatchFailed, LoadRefused, OUTPUT};
use shm_protocol::limit;
use shm_protocol::link::{HostLink, LinkSizes, SupervisorLink};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{BatchHead, INPUT, RUN};
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The engine of this test process.
pub fn engine() -> &'static OnnxRuntime {
    static ENGINE: OnceLock<OnnxRuntime> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let library = CheckedLibrary::open(None).expect("the embedded library");
        OnnxRuntime::start(library, 1).expect("the engine")
    })
}

/// A file of the folder `models`.
pub fn model_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Loads a model with these providers.
pub fn try_load(
    file: &str,
    providers: &[&str],
    strict_providers: bool,
) -> Result<LoadedModel, LoadRefused> {
    let providers: Vec<String> = providers.iter().map(|name| (*name).to_owned()).collect();
    engine().load(
        &model_file(file),
        &LoadOptions {
            name: "tested",
            providers: &providers,
            strict_providers,
            external_data: &[],
            max_ports: limit::TENSORS,
        },
    )
}

/// A model on the CPU.
pub fn load(file: &str) -> Box<dyn Model> {
    try_load(file, &[], false)
        .unwrap_or_else(|refused| panic!("{}", refused.message))
        .model
}

/// A model on the CPU, from the bytes of its file.
pub fn load_bytes(file: &[u8]) -> Box<dyn Model> {
    let options = LoadOptions {
        name: "tested",
        providers: &[],
        strict_providers: false,
        external_data: &[],
        max_ports: limit::TENSORS,
    };
    engine()
        .load(file, &options)
        .unwrap_or_else(|refused| panic!("{}", refused.message))
        .model
}

/// Runs a model directly, every output copied.
pub fn run_alone(model: &mut dyn Model, inputs: &[Tensor]) -> Vec<Tensor> {
    let views: Vec<_> = inputs
        .iter()
        .map(|input| {
            inference_host::TensorView::of_slice(input.dtype, input.shape, &input.data)
                .expect("a whole tensor")
        })
        .collect();
    model.run(&views, &mut []).expect("the model runs");
    let outputs = 0..model.signature().outputs.len();
    let copied = outputs.map(|number| {
        let view = model.output(number).expect("an output");
        let mut data = Vec::new();
        view.copy_to(&mut data);
        Tensor {
            dtype: view.dtype(),
            shape: *view.shape(),
            data,
        }
    });
    copied.collect()
}

/// A tensor of `f32`, element `n` being `f(n)`.
pub fn floats(dims: &[u64], f: impl Fn(usize) -> f32) -> Tensor {
    let shape = Shape::new(dims).expect("few dimensions");
    let elements = shape.bytes(DType::F32).expect("few elements") / 4;
    Tensor {
        dtype: DType::F32,
        shape,
        data: (0..elements).flat_map(|n| f(n).to_le_bytes()).collect(),
    }
}

/// A tensor of `i64`, element `n` being `f(n)`.
pub fn integers(dims: &[u64], f: impl Fn(usize) -> i64) -> Tensor {
    let shape = Shape::new(dims).expect("few dimensions");
    let elements = shape.bytes(DType::I64).expect("few elements") / 8;
    Tensor {
        dtype: DType::I64,
        shape,
        data: (0..elements).flat_map(|n| f(n).to_le_bytes()).collect(),
    }
}

/// The supervisor's end of a link whose other end a host serves on a thread of its own.
pub struct Served {
    pub link: SupervisorLink,
    batches: u64,
}

/// Serves `files` as models 0, 1, … while `supervisor` plays the other side. The host is drained at the end.
pub fn serving(sizes: LinkSizes, files: &[&str], supervisor: impl FnOnce(&mut Served)) {
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|file| (*file, model_file(file))).collect();
    serving_bytes(sizes, &files, supervisor);
}

/// [`serving`] for models that lie in no file.
pub fn serving_bytes(
    sizes: LinkSizes,
    files: &[(&str, Vec<u8>)],
    supervisor: impl FnOnce(&mut Served),
) {
    let incarnation = Incarnation(7);
    let (link, descriptors) = SupervisorLink::create(sizes, incarnation).expect("a link");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            let mut link = HostLink::attach(
                descriptors.down,
                descriptors.up,
                descriptors.bell,
                incarnation,
            )
            .expect("the other end");
            let mut models = ModelRegistry::default();
            for (number, (name, bytes)) in files.iter().enumerate() {
                models.insert(
                    VersionId::from_index(number),
                    name,
                    "cpu",
                    load_bytes(bytes),
                );
            }
            serve(&mut link, &mut models, None, &mut || {
                over.load(Ordering::Acquire)
            })
            .expect("a link in order");
        });
        let end = OnPanic(&over);
        supervisor(&mut Served { link, batches: 0 });
        drop(end);
        host.join().expect("the host ends in order");
    });
}

/// Ends the host even if the supervisor's side of a test fails, or the test would wait for it forever.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The sizes of most tests.
pub const SIZES: LinkSizes = LinkSizes {
    down_bytes: 1 << 20,
    up_bytes: 1 << 20,
};

impl Served {
    /// Sends a batch, without waiting for anything.
    pub fn send(&mut self, model: u32, inputs: &[Tensor]) -> BatchId {
        let batch = BatchId(self.batches);
        self.batches += 1;
        let tick = tick_of(batch);
        let run = BatchHead {
            batch,
            version: VersionId(model),
            model: ModelId(model),
            inputs: u32::try_from(inputs.len()).expect("few inputs"),
        };
        self.push(
            &RecordHeader {
                correlation: batch.0,
                ..RecordHeader::new(RUN, tick)
            },
            &codec::encode(&run),
        );
        for (number, input) in inputs.iter().enumerate() {
            let header = RecordHeader {
                subject: u32::try_from(number).expect("few inputs"),
                correlation: batch.0,
                tensor: Some((input.dtype, input.shape)),
                ..RecordHeader::new(INPUT, tick)
            };
            self.push(&header, &input.data);
        }
        batch
    }

    /// Pushes a record, waiting while the ring is full.
    pub fn push(&mut self, header: &RecordHeader, payload: &[u8]) {
        while !self
            .link
            .down
            .try_push(header, payload)
            .expect("a ring in order")
        {
            thread::yield_now();
        }
        self.link.down.notify();
    }

    /// Waits for the answer to a batch with this many outputs, and checks everything its headers say.
    pub fn answer(&mut self, batch: BatchId, outputs: usize) -> Result<Vec<Tensor>, String> {
        let mut answer = Vec::new();
        while answer.len() < outputs {
            let (header, data) = self.next();
            assert_eq!(header.tick, tick_of(batch));
            assert_eq!(header.correlation, batch.0);
            if header.kind == BATCH_FAILED {
                let failed: BatchFailed =
                    codec::decode::<_, { limit::RECORD_BYTES }>(&data).expect("a failure");
                assert_eq!(failed.batch, batch);
                assert!(
                    answer.is_empty(),
                    "a failure after {} outputs",
                    answer.len()
                );
                return Err(failed.message);
            }
            assert_eq!(header.kind, OUTPUT);
            assert_eq!(header.subject as usize, answer.len());
            let (dtype, shape) = header.tensor.expect("an output describes a tensor");
            answer.push(Tensor { dtype, shape, data });
        }
        Ok(answer)
    }

    /// The next record, whatever it is.
    fn next(&mut self) -> (RecordHeader, Vec<u8>) {
        let mut data = Vec::new();
        loop {
            if let Some(header) = self.link.up.try_take(&mut data).expect("a ring in order") {
                return (header, data);
            }
            thread::yield_now();
        }
    }
}

fn tick_of(batch: BatchId) -> Tick {
    Tick(1000 + batch.0)
}
