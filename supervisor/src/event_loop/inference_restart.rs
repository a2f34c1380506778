//! The inference host on its way back: the engine, and every version that is needed.

use super::host_slot::Stage;
use super::restart::Loading;
use super::{Drive, Trouble};
use crate::error::RunError;
use crate::record::EnginePin;
use shm_protocol::id::HostId;
use shm_protocol::inference_to_supervisor::{ENGINE_READY, EngineReady, MODEL_LOADED, ModelLoaded};
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_inference as inference;

impl Drive<'_> {
    /// The engine says that it is loaded, or a model. Both must be what they were.
    pub(super) fn hear_model(&mut self, host: HostId, header: &Header) -> Result<(), Trouble> {
        let stage = &mut self.station(host).stage;
        let Stage::Loading(Loading::Engine { left }) = stage else {
            unreachable!("the caller has looked");
        };
        let mut left = match left.take() {
            None => {
                self.hear_engine_ready(host, header)?;
                self.machine.needed().into_iter().collect()
            }
            Some(left) => {
                let loaded: ModelLoaded = self.expect(host, header, MODEL_LOADED)?;
                let mut left = left;
                left.extend(self.take_version(loaded)?);
                left
            }
        };
        self.station(host).paid(1);
        if let Some(version) = left.pop_front() {
            let load = inference::Command::Load(self.load_of(version));
            self.station(host).stage = Stage::Loading(Loading::Engine { left: Some(left) });
            self.station(host).owe(1);
            return Ok(self.hosts.command_inference(load)?);
        }
        self.hosts.command_inference(inference::Command::Start)?;
        self.hosts.started(host)?;
        self.station(host).stage = Stage::Serving;
        self.submit_open()?;
        if self.station(host).owed == 0 {
            self.back_at_work(host)?;
        }
        Ok(())
    }

    fn hear_engine_ready(&mut self, host: HostId, header: &Header) -> Result<(), Trouble> {
        let ready: EngineReady = self.expect(host, header, ENGINE_READY)?;
        let present = EnginePin {
            name: ready.engine,
            library: ready.library_digest,
            intra_threads: self.orders.engine.intra_threads,
        };
        if self.header.engine.as_ref() == Some(&present) {
            return Ok(());
        }
        Err(Trouble::Run(RunError::EngineChanged {
            before: self
                .header
                .engine
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            now: present.to_string(),
        }))
    }
}
