//! The simulator: the production code of a run over a world in which everything
//! goes wrong, one seed one run, in one thread. All chance comes from the seed.
//!
//! The promise: **whatever happens to hosts, disk and supervisor, the journal of
//! a run is that of the fault-free run, byte for byte**; or a verdict says in it
//! what was decided, and a replay takes the same turn; or the run stops, and can
//! be gone on with. There is no fourth way to end.
//!
//! * `fleet`, `agent`: a small fleet and what its agents do;
//! * `reply`, `agent_host`, `engine_host`: the hosts, which speak the real messages;
//! * `host_faults`: what goes wrong with them;
//! * `hosts`: all hosts in one thread, with their own time;
//! * `supervisor_run`: one life of the supervisor;
//! * `observer`, `check`: what must hold, seen from outside;
//! * `decided`: what must hold of a run in which something was decided;
//! * `case`: one seed, over all lives of the supervisor;
//! * `changing`: what becomes of models while a run goes on;
//! * `change_requester`: somebody who changes models while a run goes on;
//! * `poison`: agents that end their host, and what was decided about them in every life;
//! * `guilty`: requests that crash the engine;
//! * `slow`: hosts that are too slow;
//! * `campaign`: many seeds, and what is said of one that fails;
//! * `exhaustive`: one run, and every call of its disk goes wrong in every way;
//! * `damage`: its journal cut at every byte and flipped at every bit;
//! * `outbox`: its outbox cut and changed while nobody writes to it.

mod agent;
mod agent_host;
mod campaign;
mod case;
mod change_requester;
mod changing;
mod check;
mod damage;
mod decided;
mod engine_host;
mod exhaustive;
mod fleet;
mod guilty;
mod host_faults;
mod hosts;
mod observer;
mod outbox;
mod poison;
mod reply;
mod slow;
mod supervisor_run;
