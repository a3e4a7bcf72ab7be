//! What systemd is told: that the daemon is ready, what it does, that it lives, and that it is stopping.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::clock;

/// A service manager, if one is listening; all of this does nothing otherwise.
pub struct Manager {
    watchdog: Option<Duration>,
    turns_told: u64,
    told_at: Option<Instant>,
}

impl Manager {
    /// Asks the environment whether somebody wants signs of life, and how often.
    pub fn new() -> Manager {
        Manager { watchdog: sd_notify::watchdog_enabled(), turns_told: 0, told_at: None }
    }

    /// Both listeners answer.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Gives a sign of life, if one is due and the control thread has made a turn since the last one.
    pub fn alive(&mut self, turns: u64) {
        let Some(every) = self.watchdog else { return };
        let now = clock::instant_now();
        // Three times as often as asked for: one late look must not look like a death.
        let is_due = self.told_at.is_none_or(|told| now.duration_since(told) >= every / 3);
        if is_due && turns != self.turns_told {
            tell(&[NotifyState::Watchdog]);
            self.turns_told = turns;
            self.told_at = Some(now);
        }
    }

    /// Gives a sign of life, if one is due, while another process is about to decide in this one's place.
    pub fn alive_between(&mut self) {
        self.turns_told = 0;
        self.alive(1);
    }

    /// Another process is the service from now on.
    pub fn handed_over(pid: u32) {
        tell(&[NotifyState::MainPid(pid)]);
    }

    /// It is going down, by its own will.
    pub fn stopping(&self, status: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::debug!(%why, "the service manager does not listen");
    }
}
