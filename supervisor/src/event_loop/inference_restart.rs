//! The inference host on its way back: the engine, and every version that is needed.

use super::host_slot::HostStage;
use super::restart::LoadProgress;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use crate::record::EnginePin;
use shm_protocol::id::HostId;
use shm_protocol::inference_to_supervisor::{ENGINE_READY, EngineReady, MODEL_LOADED, ModelLoaded};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference as inference;

impl EventLoop<'_> {
    /// The engine says that it is loaded, or a model. Both must be what they were.
    pub(super) fn on_engine_loading(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let stage = &mut self.station(host).stage;
        let HostStage::Loading(LoadProgress::Engine { left }) = stage else {
            unreachable!("the caller has looked");
        };
        let mut left = match left.take() {
            None => {
                self.on_engine_ready(host, header)?;
                self.machine.needed().into_iter().collect()
            }
            Some(left) => {
                let loaded: ModelLoaded = self.expect(host, header, MODEL_LOADED)?;
                let mut left = left;
                left.extend(self.take_version(loaded)?);
                left
            }
        };
        self.station(host).on_replies(1);
        if let Some(version) = left.pop_front() {
            let load = inference::InferenceCommand::Load(self.load_of(version));
            self.station(host).stage =
                HostStage::Loading(LoadProgress::Engine { left: Some(left) });
            self.station(host).expect_replies(1);
            return Ok(self.hosts.command_inference(load)?);
        }
        self.hosts
            .command_inference(inference::InferenceCommand::Start)?;
        self.hosts.started(host)?;
        self.station(host).stage = HostStage::Serving;
        self.submit_open()?;
        if self.station(host).outstanding == 0 {
            self.finish_restart(host)?;
        }
        Ok(())
    }

    fn on_engine_ready(&mut self, host: HostId, header: &RecordHeader) -> Result<(), LoopError> {
        let ready: EngineReady = self.expect(host, header, ENGINE_READY)?;
        let present = EnginePin {
            name: ready.engine,
            library: ready.library_digest,
            intra_threads: self.orders.engine.intra_threads,
        };
        if self.header.engine.as_ref() == Some(&present) {
            return Ok(());
        }
        Err(LoopError::Run(RunError::EngineChanged {
            before: self
                .header
                .engine
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            now: present.to_string(),
        }))
    }
}
