//! What our listeners have in common, whatever is spoken on them: how they go on accepting, and how a connection ends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// How long accepting pauses when the process has no descriptor left, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long, and for how much, a client is listened to after its last answer.
#[derive(Clone, Copy, Debug)]
pub struct Linger {
    /// In all.
    pub time_max: Duration,
    /// From the answer on.
    pub bytes_max: usize,
}

impl Linger {
    /// For clients that send on for a moment.
    pub const SHORT: Linger = Linger { time_max: Duration::from_secs(1), bytes_max: 16 * 1024 * 1024 };
}

/// How long an address is waited for that a process has which is about to end, and that nobody is known to have.
const DYING_MAX: Duration = Duration::from_secs(10);
const UNKNOWN_MAX: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Binds an address, waiting a moment where it is in use, and longer for as long as that is by a process that is dying.
pub fn bind_in_time<T>(
    mut bind: impl FnMut() -> io::Result<T>,
    is_dying: impl Fn() -> bool,
) -> io::Result<T> {
    let (mut waited, mut unknown) = (Duration::ZERO, Duration::ZERO);
    loop {
        let why = match bind() {
            Err(why) if why.kind() == io::ErrorKind::AddrInUse => why,
            other => return other,
        };
        unknown = if is_dying() { Duration::ZERO } else { unknown + LOOK_EVERY };
        if waited >= DYING_MAX || unknown >= UNKNOWN_MAX {
            return Err(why);
        }
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

/// How long a listener pauses after it could not accept.
#[derive(Debug)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(PAUSE_MIN)
    }
}

impl Pause {
    /// Waits as long as makes sense after a fault; one that is of a single connection is nobody else's.
    pub async fn after(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        // Most likely no descriptor is left. Trying again at once would spin; those that end meanwhile give theirs back.
        if self.0 == PAUSE_MIN {
            tracing::warn!(%error, "accepting connections pauses");
        }
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }

    /// Somebody was accepted.
    pub fn ends(&mut self) {
        self.0 = PAUSE_MIN;
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Reads away what a client still sends after its last answer.
///
/// A connection that is closed with bytes unread ends with a reset, and that may overtake the answer.
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, how: Linger) {
    let ending = async {
        // Both fail where the client is gone, which is as good.
        let _ = stream.shutdown().await;
        let (mut piece, mut sum) = (vec![0; 16 * 1024], 0);
        while sum < how.bytes_max
            && let Ok(count @ 1..) = stream.read(&mut piece).await
        {
            sum += count;
        }
    };
    let _ = timeout(how.time_max, ending).await;
}
