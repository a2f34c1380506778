//! Where a run can be asked for changes of its models while it goes on.
//!
//! A thread takes one wish after the other. A version is read, loaded in an
//! inference host of its own, compared with the first one and put among the
//! objects of the run, all while the run ticks; only then the loop is told.

use super::client::{
    Action, AppliedChange, ChangeRequest, ChangeResponse, address, read_line, write_line,
};
use crate::error::{ErrorKind, RunError};
use crate::event_loop::{ChangeSource, PendingChange, ProbedVersion, ToBecome};
use crate::host::StopSignals;
use crate::launch::{
    Engines, StandaloneModel, StandaloneModelRequest, bundle, check_version, reasons, version_title,
};
use crate::models::{read_folder, read_model};
use crate::record::{Digest, RunHeader, VersionPin};
use crate::rundir::RunDir;
use crate::sys::clock::now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
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

/// How long somebody who has connected may take to say what is wanted, and to hear what is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a run waits for a version that is being looked at.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often it looks whether that is over.
const GLANCE: Duration = Duration::from_millis(1);

/// Bytes of the disk that are left to the run itself.
const RESERVE: u64 = 64 << 20;

/// Bytes for tensors in the host in which a version is looked at: it is never asked anything.
const TENSOR_BYTES: usize = 1 << 20;

/// What is known of a run whose models may be changed.
pub(crate) struct ControlContext {
    pub(crate) engines: Engines,
    pub(crate) run_dir: RunDir,
    /// The header of the run with all changes so far.
    pub(crate) header: RunHeader,
    /// What was found of the first version of each model.
    pub(crate) facts: Vec<ModelInfo>,
    /// Whether anything but a model's first provider is a refusal.
    pub(crate) strict_providers: bool,
    /// How long a host may be silent while it loads.
    pub(crate) load_patience: Duration,
}

/// Where wishes come in. They are no longer taken once it is dropped.
pub(crate) struct ControlServer {
    asked: Option<Receiver<PendingChange>>,
    closing: StopSignals,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Opens it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(known: ControlContext) -> io::Result<ControlServer> {
        let listener = UnixListener::bind_addr(&address(known.run_dir.path())?)?;
        let closing = StopSignals::none()?;
        let (sender, asked) = mpsc::channel();
        let clerk = ControlWorker {
            named: names(&known.header),
            files: known.header.model_files().collect(),
            known,
            loop_of_run: sender,
            closing: closing.clone(),
        };
        let thread = thread::Builder::new()
            .name("changes".to_owned())
            .spawn(move || clerk.work(&listener))?;
        Ok(ControlServer {
            asked: Some(asked),
            closing,
            thread: Some(thread),
        })
    }
}

impl ChangeSource for ControlServer {
    fn next(&mut self, _open: Tick) -> Option<PendingChange> {
        self.asked.as_ref()?.try_recv().ok()
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // Who waits for an answer hears that there is none.
        self.asked = None;
        self.closing.raise();
        let until = now() + FAREWELL;
        // A large file may be on its way to the disk. What comes of it changes nothing any more.
        while let Some(thread) = self
            .thread
            .take_if(|thread| thread.is_finished() || now() < until)
        {
            match thread.is_finished() {
                true => drop(thread.join()),
                false => {
                    thread::park_timeout(GLANCE);
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

/// Who takes wishes.
struct ControlWorker {
    known: ControlContext,
    /// The names of all versions of each model.
    named: Vec<BTreeSet<String>>,
    /// The files of all versions.
    files: BTreeSet<Digest>,
    loop_of_run: Sender<PendingChange>,
    closing: StopSignals,
}

impl ControlWorker {
    fn work(mut self, listener: &UnixListener) {
        while self.hears(listener, None) {
            if let Ok((stream, _)) = listener.accept() {
                // Somebody who goes away has no use for an answer.
                let _ = self.serve(&stream);
            }
        }
    }

    /// Waits until somebody says something. False when the desk closes, or nobody has for so long.
    fn hears(&self, somebody: &impl AsFd, patience: Option<&Timespec>) -> bool {
        let mut watched = [
            PollFd::new(somebody, PollFlags::IN),
            PollFd::from_borrowed_fd(self.closing.readable(), PollFlags::IN),
        ];
        loop {
            match poll(&mut watched, patience) {
                Err(Errno::INTR) => {}
                Err(_) | Ok(0) => return false,
                Ok(_) => return !self.closing.asked(),
            }
        }
    }

    fn serve(&mut self, stream: &UnixStream) -> io::Result<()> {
        if !is_ours(stream) {
            return Ok(());
        }
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        if !self.hears(stream, Some(&patience)) {
            return Ok(());
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let wish = read_line(&mut BufReader::new(stream));
        let said = match wish.map_err(|error| refused(format!("the wish cannot be read: {error}")))
        {
            Ok(wish) => self.grant(&wish, &|stage| {
                let _ = write_line(stream, &ChangeResponse::Stage(stage.to_owned()));
            }),
            Err(refused) => Err(refused),
        };
        let said = said.map_err(|error| match self.closing.asked() {
            // Whatever it was that failed, the run is over.
            true => self.ended(),
            false => error,
        });
        let said = said.unwrap_or_else(|error| ChangeResponse::Refused {
            kind: error.kind(),
            message: error.to_string(),
        });
        write_line(stream, &said)
    }

    /// Does all that a wish needs.
    fn grant(
        &mut self,
        wish: &ChangeRequest,
        stage: &dyn Fn(&str),
    ) -> Result<ChangeResponse, RunError> {
        let model = self.model(&wish.model)?;
        let (to, provider, refused_providers) = match &wish.action {
            Action::Unload => (ToBecome::Unloaded, None, Vec::new()),
            Action::Load => (ToBecome::Loaded, None, Vec::new()),
            Action::Replace { file, version } => {
                let arriving = self.probe_version(model, file, version, stage)?;
                let others = arriving.refused.iter();
                let others =
                    others.map(|refused| (refused.provider.clone(), refused.detail.clone()));
                let (provider, others) = (arriving.pin.provider.clone(), others.collect());
                (
                    ToBecome::Version(Box::new(arriving)),
                    Some(provider),
                    others,
                )
            }
        };
        let arrived = match &to {
            ToBecome::Version(arriving) => Some((arriving.pin.version.clone(), arriving.pin.file)),
            ToBecome::Unloaded | ToBecome::Loaded => None,
        };
        stage("waiting for the end of a tick");
        let (answer, answered) = mpsc::channel();
        let asked = PendingChange { model, to, answer };
        self.loop_of_run.send(asked).map_err(|_| self.ended())?;
        let from = answered.recv().map_err(|_| self.ended())?;
        let from = from.map_err(|reason| refused(format!("model `{}`: {reason}", wish.model)))?;
        if let Some((version, file)) = arrived {
            self.named[model.index()].insert(version);
            self.files.insert(file);
        }
        Ok(ChangeResponse::Done(AppliedChange {
            from: from.0,
            provider,
            refused: refused_providers,
        }))
    }

    /// Refuses what would leave the run no room for its journal.
    fn has_room(&self, bytes: u64) -> Result<(), RunError> {
        let path = self.known.run_dir.path();
        let Ok(disk) = rustix::fs::statvfs(path) else {
            return Ok(());
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= bytes.saturating_add(RESERVE) {
            return Ok(());
        }
        Err(refused(format!(
            "the file has {bytes} bytes, {free} bytes are free on the disk of {}, and the run needs {RESERVE} of them for itself; free some",
            path.display()
        )))
    }

    fn ended(&self) -> RunError {
        RunError::EndedFirst {
            dir: self.known.run_dir.path().to_path_buf(),
        }
    }

    fn model(&self, name: &str) -> Result<ModelId, RunError> {
        let models = &self.known.header.models;
        let found = models.iter().position(|pin| pin.name == name);
        found.map(ModelId::from_index).ok_or_else(|| {
            let names: Vec<&str> = models.iter().map(|pin| pin.name.as_str()).collect();
            refused(format!(
                "the run has no model `{name}`; its models are {}",
                names.join(", ")
            ))
        })
    }

    /// Reads another version of a model, finds out what it is, and keeps its file.
    fn probe_version(
        &self,
        model: ModelId,
        file: &Path,
        version: &str,
        stage: &dyn Fn(&str),
    ) -> Result<ProbedVersion, RunError> {
        let known = &self.known;
        let first = &known.header.models[model.index()];
        if let Some(reason) = crate::fleet::unfit_version(version) {
            return Err(refused(reason));
        }
        if self.named[model.index()].contains(version) {
            return Err(refused(format!(
                "model `{}` has a version `{version}` already; give this one another name",
                first.name
            )));
        }
        stage("reading");
        let bytes = match first.generator {
            Some(_) => read_folder(file)?,
            None => read_model(file)?,
        };
        stage("loading it in a host of its own");
        let name = version_title(&first.name, version);
        let request = StandaloneModelRequest {
            name: &name,
            file: &bytes,
            generator: first.generator,
            may_batch: first.batching != Batching::Unwanted,
            memory_bytes: first.memory_bytes,
            providers: first.providers.clone(),
            strict_providers: known.strict_providers,
            intra_threads: known
                .header
                .engine
                .as_ref()
                .map_or(1, |engine| engine.intra_threads),
            tensor_bytes: TENSOR_BYTES,
            patience: known.load_patience,
        };
        let lone = StandaloneModel::load(&known.engines, &request, self.closing.clone());
        let lone = lone.map_err(|error| RunError::ChangeRefused {
            message: match error.kind() {
                ErrorKind::Internal | ErrorKind::Machine => format!(
                    "model {name} cannot be loaded: {error}; ask again, or try it with `lockstep infer`"
                ),
                _ => return error,
            },
            // A model that crashes its host is bad input; a host that was killed is not.
            kind: match error.kind() {
                ErrorKind::Machine => ErrorKind::Machine,
                _ => ErrorKind::BadInput,
            },
        })?;
        let (found, engine) = (lone.facts.clone(), lone.engine.library_digest);
        lone.end()?;
        let pinned = known.header.engine.as_ref().map(|engine| engine.library);
        if pinned != Some(engine) {
            return Err(refused(
                "the engine's library is not the one that the run began with".to_owned(),
            ));
        }
        check_version((&first.name, version), &known.facts[model.index()], &found)?;
        stage("keeping its file");
        self.has_room(bytes.len() as u64)?;
        let file = known.run_dir.put_object(&bytes)?;
        drop(bytes);
        let mut objects = Vec::new();
        for digest in self.files.iter().chain([&file]) {
            objects.push((*digest, known.run_dir.object(digest)?));
        }
        let parts = objects
            .iter()
            .map(|(digest, bytes)| (*digest, bytes.as_slice()));
        let (files, memory) = bundle("lockstep-models", parts)?;
        let pin = VersionPin {
            version: version.to_owned(),
            file,
            provider: found.provider.clone(),
            refused: reasons(&found),
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

/// Whether somebody is the user who runs this. Names of sockets in the abstract namespace are free for all.
fn is_ours(stream: &UnixStream) -> bool {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

fn refused(message: String) -> RunError {
    RunError::ChangeRefused {
        kind: ErrorKind::BadInput,
        message,
    }
}
