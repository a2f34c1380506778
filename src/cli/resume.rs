//! `lockstep resume`.

use super::arguments::Resume;
use super::edge::{Done, Trouble};
use super::engines;
use super::progress::Progress;
use super::run::tell;
use supervisor::host::StopSignals;
use supervisor::session;
use supervisor::session::ResumeRequest;

/// Goes on with a run whose supervisor was killed or stopped.
pub(super) fn resume(command: &Resume) -> Result<Done, Trouble> {
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let mut progress = Progress::new(command.ticks, None);
    let request = ResumeRequest {
        dir: &command.dir,
        engines: &engines,
        ticks: command.ticks,
        from_genesis: command.from_genesis,
        degrade: command.degrade,
        bounds: command.bounds.chosen(),
        stop,
    };
    let ran = session::resume(request, &mut progress);
    progress.finish();
    match ran.map_err(Trouble::from) {
        Err(trouble) => Err(trouble.told(command.json)?),
        Ok(summary) => {
            tell(&summary, None, command.json)?;
            Ok(Done::Fine)
        }
    }
}
