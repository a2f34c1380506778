//! One life of the supervisor over a simulated world: the same steps that a run
//! and a resume take, with simulated hosts in place of processes.

use super::change_requester::Wishing;
use super::fleet::{COMPONENT, Fleet, MODEL};
use super::hosts::SimHosts;
use crate::error::RunError;
use crate::event_loop::{EventLoop, LoopEnd, Timeouts};
use crate::faults::Faults;
use crate::journal::{JournalReader, JournalWriter, create_run_dir_on};
use crate::launch::{HostConfig, plan};
use crate::models::{apply_verdicts, versions};
use crate::observer::Observer;
use crate::rundir::{Outbox, RunDir};
use crate::session::catch_up::CaughtUpRun;
use crate::session::live_run::{RunReport, RunShutdown};
use crate::session::recording_ledger::{RecordingLedger, ResumeProgress};
use crate::session::run_store::RunStore;
use crate::session::stats::RunStats;
use crate::sys::clock::now;
use crate::sys::disk::Disk;
use crate::tick::{TickAction, TickMachine};
use std::path::Path;
use std::sync::Arc;

/// Where the run is on the simulated disk.
pub(super) const DIRECTORY: &str = "/runs/one";

/// A run that begins.
pub(super) fn begin(
    fleet: &Fleet,
    disk: Arc<dyn Disk>,
    hosts: &mut SimHosts<'_>,
    observer: &mut dyn Observer,
) -> Result<RunReport, RunError> {
    let run_dir = create_run_dir_on(disk, Path::new(DIRECTORY))?;
    for object in [COMPONENT, MODEL] {
        run_dir.put_object(object)?;
    }
    run_dir.put_launch(&fleet.launch)?;
    let machine = TickMachine::new(
        plan(&fleet.header, &fleet.orders.placement),
        Some(fleet.ticks()),
    );
    let writer = JournalWriter::create(&run_dir, &fleet.header, fleet.launch.durability)?;
    let outbox = Outbox::open(&run_dir, writer.run_id(), fleet.agent_names())?;
    let keeper = RunStore::new(
        &run_dir,
        writer,
        outbox,
        &fleet.header,
        &fleet.launch,
        Faults::none(),
    )?;
    let launched = Launched {
        fleet,
        orders: fleet.orders.clone(),
        run_dir,
        keeper,
        machine,
        going_on: None,
    };
    launched.follow(hosts, observer)
}

/// A run that goes on with what is on the disk.
pub(super) fn resume(
    fleet: &Fleet,
    disk: Arc<dyn Disk>,
    hosts: &mut SimHosts<'_>,
    observer: &mut dyn Observer,
) -> Result<RunReport, RunError> {
    let run_dir = RunDir::open_on(disk, Path::new(DIRECTORY))?;
    let (header, _) = JournalReader::open(&run_dir)?;
    assert_eq!(header, fleet.header, "the run is what it was");
    let launch = run_dir.launch()?;
    assert_eq!(launch, fleet.launch, "how a run was launched is kept");
    let layout = &fleet.orders.placement;
    let gone = CaughtUpRun::load(
        &run_dir,
        &fleet.header,
        &launch,
        layout,
        false,
        &Faults::none(),
        observer,
    )?;
    run_dir.put_launch(&launch)?;
    if let Some(end) = LoopEnd::of(&gone.machine) {
        let finishing = RunShutdown {
            hosts: None,
            header: fleet.header.clone(),
            store: gone.store,
            plan_changes: Vec::new(),
        };
        return finishing.finish(Ok(end), RunStats::begin(), now(), run_dir.path());
    }
    let mut orders = fleet.orders_after(gone.machine.plan_changes());
    let mut expected = versions(&header);
    apply_verdicts(
        &mut expected,
        gone.machine
            .plan_changes()
            .iter()
            .map(|(_, verdict)| verdict),
    );
    let needed = gone.machine.needed_versions();
    for (load, version) in orders.versions.iter_mut().zip(expected) {
        load.keep = needed.contains(&load.version);
        load.providers = version.pin.providers;
    }
    hosts.has_loaded(&orders.versions);
    let launched = Launched {
        fleet,
        orders,
        run_dir,
        keeper: gone.store,
        machine: gone.machine,
        going_on: Some(gone.actions),
    };
    launched.follow(hosts, observer)
}

struct Launched<'fleet> {
    fleet: &'fleet Fleet,
    orders: HostConfig,
    run_dir: RunDir,
    keeper: RunStore,
    machine: TickMachine,
    going_on: Option<Vec<TickAction>>,
}

impl Launched<'_> {
    fn follow(
        mut self,
        hosts: &mut SimHosts<'_>,
        observer: &mut dyn Observer,
    ) -> Result<RunReport, RunError> {
        let going_on = self.going_on.as_ref().map(|_| ResumeProgress {
            requested_at: now(),
            hosts: self.fleet.orders.placement.hosts,
            after: self.keeper.committed(),
            checkpoint: None,
            reexecuted: 0,
        });
        let mut ledger =
            RecordingLedger::new(&mut self.keeper, observer, &self.fleet.header, going_on);
        let opaque = |character: &super::fleet::Character| {
            character.opaque.then(|| "it is opaque".to_owned())
        };
        let opaque: Vec<Option<String>> = self.fleet.characters.iter().map(opaque).collect();
        let mut operator = Wishing::after(self.fleet, self.machine.plan_changes());
        let drive = EventLoop::new(
            hosts,
            self.machine,
            &self.fleet.header,
            &self.orders,
            &mut ledger,
            Timeouts::of(&self.fleet.launch),
        )
        .with_opaque_agents(&opaque)
        .on_provider_lost(self.fleet.launch.on_provider_lost)
        .with_pace(self.fleet.launch.pace)
        .with_change_source(&mut operator);
        let result = match self.going_on {
            Some(asked) => drive.resume(asked),
            None => drive.run(),
        };
        let result = result.map(|end| end.expect("a journal to write never breaks a run off"));
        let tally = ledger.stats;
        let finishing = RunShutdown {
            hosts: None,
            header: self.fleet.header.clone(),
            store: self.keeper,
            plan_changes: Vec::new(),
        };
        finishing.finish(result, tally, now(), self.run_dir.path())
    }
}
