//! Waiting for a rollout: until it has ended, wants a person, or the time is up; through a restart of the daemon too.

use std::time::{Duration, Instant};

use super::exit::Exit;
use super::render::words;
use super::session::Session;
use crate::api::wire::RolloutStatus;
use crate::client::{Client, ClientError};
use crate::clock;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A daemon that is away longer than this is not restarting.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says whether a daemon that does not answer is still waited for, and tells the person once that it is away.
pub struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// None so far.
    pub fn new() -> Outage {
        Outage { since: None }
    }

    /// Notes an answer.
    pub fn ends(&mut self, session: &Session) {
        if let Some(since) = self.since.take() {
            let away = words::span(clock::instant_now().duration_since(since));
            session.terminal.note(&format!("serin answers again, after {away}"));
        }
    }

    /// Notes that there was none; gives the error back when it is time to give up.
    pub fn goes_on(&mut self, error: ClientError, session: &Session) -> Result<(), ClientError> {
        if !error.is_passing() {
            return Err(error);
        }
        let now = clock::instant_now();
        match self.since {
            None => {
                self.since = Some(now);
                session.terminal.note(&format!("{error}; trying again for {}", words::span(PATIENCE)));
                Ok(())
            }
            Some(since) if now.duration_since(since) > PATIENCE => Err(error),
            Some(_) => Ok(()),
        }
    }
}

/// Waits for the rollout with this id, telling on stderr how it goes.
pub fn until_settled(
    session: &Session,
    client: &Client,
    id: &str,
    timeout: Option<Duration>,
) -> anyhow::Result<Exit> {
    let begun = clock::instant_now();
    let mut outage = Outage::new();
    let mut told = String::new();
    loop {
        match client.status(id) {
            Ok(status) => {
                outage.ends(session);
                let line = line(&status);
                if line != told {
                    session.terminal.note(&stamped(&line, session));
                    told = line;
                }
                if let Some(exit) = Exit::of(&status) {
                    return Ok(exit);
                }
            }
            Err(error) => outage.goes_on(error, session)?,
        }
        let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            let waited = words::span(timeout.unwrap_or_default());
            session.terminal.note(&format!(
                "still under way after {waited}; the rollout goes on without being waited for"
            ));
            return Ok(Exit::TimedOut);
        }
        std::thread::sleep(left.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
    }
}

fn line(status: &RolloutStatus) -> String {
    let step = match (status.step.index, status.is_final()) {
        (0, _) | (_, true) => String::new(),
        (index, false) => {
            format!(" at {}, step {index} of {}", words::share(status.weight.committed), status.step.count)
        }
    };
    let why = if status.reason.is_empty() { String::new() } else { format!(": {}", status.reason) };
    let name = format!("{} v{}", words::target(status), status.canary_version);
    let now = match (&status.routing, Exit::of(status)) {
        (Some(routing), Some(_)) => format!("; {} is {} now", words::target(status), routing.text),
        _ => String::new(),
    };
    format!("{name}{step}  {}{why}{now}", words::verdict(status))
}

fn stamped(line: &str, session: &Session) -> String {
    let look = session.terminal.look_of_errors();
    let now = look.now.to_string();
    format!("{}  {line}", words::clock(&now, &look))
}
