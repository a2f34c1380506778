//! The server of the control socket: it takes model changes during a run.
//!
//! A thread handles one request after the other. A version is read, loaded in its own inference host, compared with the
//! first one and put among the objects of the run, all while the run ticks; only then the event loop gets the change.

use super::client::{read_line, socket_name, write_line};
use super::protocol::{AppliedChange, ChangeRequest, ChangeResponse};
use crate::error::{ErrorKind, RunError};
use crate::event_loop::{ChangeSource, PendingChange, ProbedVersion};
use crate::host::StopSignals;
use crate::launch::{
    Engines, StandaloneModel, StandaloneModelRequest, bundle, check_version, refusal_reasons,
    version_title,
};
use crate::models::{read_folder, read_model};
use crate::record::{Digest, ModelDefinition, NewVersion, RunHeader, VersionPin};
use crate::rundir::RunDir;
use crate::sys::clock::now;
use crate::sys::{free_disk_bytes, is_peer_same_user, listen_by_name, wait_readable};
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::{Batching, ModelInfo};
use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time limit for a client to send its request, and to read a response.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of the shutdown, which waits for a version that is being probed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of the check for the end of the thread.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes of the disk that are reserved for the run itself.
const RESERVED_BYTES: u64 = 64 << 20;

/// Bytes for tensors in the host in which a version is probed: it gets no requests.
const TENSOR_BYTES: usize = 1 << 20;

/// The run whose models may be changed, for the server.
pub(crate) struct ChangeContext {
    pub(crate) engines: Engines,
    pub(crate) run_dir: RunDir,
    /// The header of the run with all changes so far.
    pub(crate) header: RunHeader,
    /// The properties of the first version of each model.
    pub(crate) first_versions: Vec<ModelInfo>,
    /// True if only a model's first provider is accepted.
    pub(crate) strict_providers: bool,
    /// Time limit for silence of a host while it loads.
    pub(crate) load_timeout: Duration,
}

/// The server. It stops when it is dropped.
pub(crate) struct ChangeServer {
    requests: Option<Receiver<PendingChange>>,
    closing: StopSignals,
    thread: Option<JoinHandle<()>>,
}

impl ChangeServer {
    /// Opens the socket and starts the thread.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn open(context: ChangeContext) -> io::Result<ChangeServer> {
        let listener = listen_by_name(&socket_name(context.run_dir.path())?)?;
        let closing = StopSignals::none()?;
        let (sender, asked) = mpsc::channel();
        let worker = ChangeWorker {
            version_names: names(&context.header),
            files: context.header.model_files().collect(),
            context,
            event_loop: sender,
            closing: closing.clone(),
        };
        let thread = thread::Builder::new()
            .name("changes".to_owned())
            .spawn(move || worker.run(&listener))?;
        Ok(ChangeServer {
            requests: Some(asked),
            closing,
            thread: Some(thread),
        })
    }
}

impl ChangeSource for ChangeServer {
    fn next(&mut self, _open: Tick) -> Option<PendingChange> {
        self.requests.as_ref()?.try_recv().ok()
    }
}

impl Drop for ChangeServer {
    fn drop(&mut self) {
        // Clients that wait for a response get an error.
        self.requests = None;
        self.closing.raise();
        let until = now() + SHUTDOWN_TIMEOUT;
        // A large file may be on its way to the disk. It does not matter any more.
        while let Some(thread) = self
            .thread
            .take_if(|thread| thread.is_finished() || now() < until)
        {
            match thread.is_finished() {
                true => drop(thread.join()),
                false => {
                    thread::park_timeout(POLL_INTERVAL);
                    self.thread = Some(thread);
                }
            }
        }
    }
}

/// The names of all versions of each model.
fn names(header: &RunHeader) -> Vec<BTreeSet<String>> {
    let of_model = |(number, pin): (usize, &crate::record::ModelPin)| {
        let model = ModelId::from_index(number);
        let later = header.versions_of(model).map(|pin| pin.version.clone());
        later.chain([pin.version.clone()]).collect()
    };
    header.models.iter().enumerate().map(of_model).collect()
}

/// Handles requests, on its own thread.
struct ChangeWorker {
    context: ChangeContext,
    /// The names of all versions of each model.
    version_names: Vec<BTreeSet<String>>,
    /// The files of all versions.
    files: BTreeSet<Digest>,
    event_loop: Sender<PendingChange>,
    closing: StopSignals,
}

impl ChangeWorker {
    fn run(mut self, listener: &UnixListener) {
        while self.wait_readable(listener, None) {
            if let Ok((stream, _)) = listener.accept() {
                // A client that has disconnected needs no response.
                let _ = self.serve(&stream);
            }
        }
    }

    /// Waits until a socket is readable. False when the server closes, or at the timeout.
    fn wait_readable(&self, source: &impl AsFd, timeout: Option<Duration>) -> bool {
        let watched = [source.as_fd(), self.closing.readable()];
        matches!(wait_readable(&watched, timeout), Ok(true)) && !self.closing.asked()
    }

    fn serve(&mut self, stream: &UnixStream) -> io::Result<()> {
        if !is_peer_same_user(stream)? || !self.wait_readable(stream, Some(CLIENT_TIMEOUT)) {
            return Ok(());
        }
        stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
        stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
        let request = read_line(&mut BufReader::new(stream));
        let response = match request.map_err(|error| refused(format!("invalid request: {error}"))) {
            Ok(request) => self.handle(&request, &|stage| {
                let _ = write_line(stream, &ChangeResponse::Stage(stage.to_owned()));
            }),
            Err(refused) => Err(refused),
        };
        let response = response.map_err(|error| match self.closing.asked() {
            // The run is over, whatever failed.
            true => self.ended(),
            false => error,
        });
        let response = response.unwrap_or_else(|error| ChangeResponse::Refused {
            kind: error.kind(),
            message: error.to_string(),
        });
        write_line(stream, &response)
    }

    /// Handles a request.
    fn handle(
        &mut self,
        request: &ChangeRequest,
        stage: &dyn Fn(&str),
    ) -> Result<ChangeResponse, RunError> {
        let model = self.model(&request.model)?;
        let change = request.action.try_map(|NewVersion { file, version }| {
            let probed = self.probe_version(model, file, version, stage)?;
            Ok::<_, RunError>(Box::new(probed))
        })?;
        let arriving = change.new_version();
        let refused_providers = arriving.iter().flat_map(|probed| &probed.refused);
        let refused_providers = refused_providers
            .map(|refused| (refused.provider.clone(), refused.detail.clone()))
            .collect();
        let arriving = arriving.map(|probed| probed.pin.clone());
        stage("waiting for the end of a tick");
        let (answer, answered) = mpsc::channel();
        let asked = PendingChange {
            model,
            change,
            answer,
        };
        self.event_loop.send(asked).map_err(|_| self.ended())?;
        let from = answered.recv().map_err(|_| self.ended())?;
        let from =
            from.map_err(|reason| refused(format!("model `{}`: {reason}", request.model)))?;
        let provider = arriving.as_ref().map(|pin| pin.provider.clone());
        if let Some(pin) = arriving {
            self.version_names[model.index()].insert(pin.version);
            self.files.insert(pin.file);
        }
        Ok(ChangeResponse::Done(AppliedChange {
            from: from.0,
            provider,
            refused: refused_providers,
        }))
    }

    /// Refuses a file that would leave the run no space for its journal.
    fn check_disk_space(&self, bytes: u64) -> Result<(), RunError> {
        let path = self.context.run_dir.path();
        let Ok(free) = free_disk_bytes(path) else {
            return Ok(());
        };
        if free >= bytes.saturating_add(RESERVED_BYTES) {
            return Ok(());
        }
        Err(refused(format!(
            "not enough disk space in {}: the file has {bytes} bytes, {free} are free, and the run keeps {RESERVED_BYTES} for itself; free some disk space",
            path.display()
        )))
    }

    fn ended(&self) -> RunError {
        RunError::EndedFirst {
            dir: self.context.run_dir.path().to_path_buf(),
        }
    }

    fn model(&self, name: &str) -> Result<ModelId, RunError> {
        let models = &self.context.header.models;
        let found = models.iter().position(|pin| pin.name == name);
        found.map(ModelId::from_index).ok_or_else(|| {
            let names: Vec<&str> = models.iter().map(|pin| pin.name.as_str()).collect();
            refused(format!(
                "the run has no model `{name}`; its models are {}",
                names.join(", ")
            ))
        })
    }

    /// Reads another version of a model, probes it, and stores its file.
    fn probe_version(
        &self,
        model: ModelId,
        file: &Path,
        version: &str,
        stage: &dyn Fn(&str),
    ) -> Result<ProbedVersion, RunError> {
        let context = &self.context;
        let first = &context.header.models[model.index()];
        if let Some(reason) = crate::fleet::unfit_version(version) {
            return Err(refused(reason));
        }
        if self.version_names[model.index()].contains(version) {
            return Err(refused(format!(
                "model `{}` already has a version `{version}`; choose another name",
                first.name
            )));
        }
        stage("reading");
        let bytes = match first.settings.generator {
            Some(_) => read_folder(file)?,
            None => read_model(file)?,
        };
        stage("loading the version in a separate host");
        let name = version_title(&first.name, version);
        let request = StandaloneModelRequest {
            model: ModelDefinition {
                may_batch: first.batching != Batching::Unwanted,
                providers: first.providers.clone(),
                settings: first.settings,
                ..ModelDefinition::new(&name, bytes.as_slice())
            },
            strict_providers: context.strict_providers,
            intra_op_threads: context
                .header
                .engine
                .as_ref()
                .map_or(1, |engine| engine.intra_op_threads),
            tensor_bytes: TENSOR_BYTES,
            timeout: context.load_timeout,
        };
        let standalone = StandaloneModel::load(&context.engines, &request, self.closing.clone());
        let standalone = standalone.map_err(|error| RunError::ChangeRefused {
            message: match error.kind() {
                ErrorKind::Internal | ErrorKind::Machine => format!(
                    "model {name} cannot be loaded: {error}; try again, or load it with `lockstep infer`"
                ),
                _ => return error,
            },
            // A model that crashes its host is bad input; a host that was killed is not.
            kind: match error.kind() {
                ErrorKind::Machine => ErrorKind::Machine,
                _ => ErrorKind::BadInput,
            },
        })?;
        let (found, engine) = (standalone.info.clone(), standalone.engine.library_digest);
        standalone.end()?;
        let pinned = context.header.engine.as_ref().map(|engine| engine.library);
        if pinned != Some(engine) {
            return Err(refused(
                "the library of ONNX Runtime has changed since the run began; restore it"
                    .to_owned(),
            ));
        }
        check_version(
            (&first.name, version),
            &context.first_versions[model.index()],
            &found,
        )?;
        stage("storing the file in the run directory");
        self.check_disk_space(bytes.len() as u64)?;
        let file = context.run_dir.put_object(&bytes)?;
        drop(bytes);
        let mut objects = Vec::new();
        for digest in self.files.iter().chain([&file]) {
            objects.push((*digest, context.run_dir.object(digest)?));
        }
        let parts = objects
            .iter()
            .map(|(digest, bytes)| (*digest, bytes.as_slice()));
        let (files, memory) = bundle("lockstep-models", parts)?;
        let pin = VersionPin {
            version: version.to_owned(),
            file,
            provider: found.provider.clone(),
            refused: refusal_reasons(&found),
            batching: found.batching.journaled(),
        };
        Ok(ProbedVersion {
            pin,
            refused: found.refused,
            memory,
            files,
        })
    }
}

fn refused(message: String) -> RunError {
    RunError::ChangeRefused {
        kind: ErrorKind::BadInput,
        message,
    }
}
