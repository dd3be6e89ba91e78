//! Meeting the hub: each app's client shows the head it kept and takes a newer one only with a proof. It
//! happens at the start, every minute, and again when the hub comes back.

use super::App;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use yiwang_client::error::ClientError;

/// Between two meetings: how old the head in an app's statements may be.
const EVERY: Duration = Duration::from_secs(60);
/// First and longest pause after a meeting that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A hub that does not answer so long is away.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the heads of receipts wait for their proof: what is not proved is forgotten by a program that is killed.
const PROVED_EVERY: Duration = Duration::from_secs(5);
/// How long a program that ends waits for the last of these proofs.
const LAST_PROOFS: Duration = Duration::from_secs(2);

/// How an app stands with the hub.
#[derive(Default)]
pub(super) struct Meeting {
    state: AtomicU8,
    again: Notify,
}

const NEVER: u8 = 0;
const MET: u8 = 1;
const AWAY: u8 = 2;
const ALARM: u8 = 3;

impl Meeting {
    fn get(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// Whether the newest meeting went well.
    pub(super) fn is_met(&self) -> bool {
        self.get() == MET
    }

    /// Whether the hub was met since the start; before that nothing is asked.
    pub(super) fn was_met(&self) -> bool {
        matches!(self.get(), MET | AWAY)
    }

    /// Whether the hub showed a ledger that cannot be believed; then nothing is asked any more.
    pub(super) fn is_alarm(&self) -> bool {
        self.get() == ALARM
    }

    pub(super) fn word(&self) -> &'static str {
        match self.get() {
            MET => "met",
            AWAY => "away",
            ALARM => "alarm",
            _ => "not met yet",
        }
    }

    /// Meets again soon: a call found that the hub was away, or waits for heads.
    pub(super) fn again(&self) {
        self.again.notify_one();
    }
}

/// Meets the hub again and again, until stopped.
pub(crate) async fn keep_met(app: Arc<App>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    // What a proof between two meetings failed with counts like a meeting.
    let mut failed: Option<Option<ClientError>> = None;
    loop {
        let met = match failed.take() {
            Some(error) => error.map(Err),
            None => {
                let meeting = tokio::time::timeout(PATIENCE, app.client.meet());
                let Some(met) = stop.run_until_cancelled(meeting).await else { return };
                met.ok()
            }
        };
        let wait = note(&app, met, &mut pause);
        let waiting = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => None,
                () = app.meeting.again.notified() => None,
                error = prove_receipts(&app), if app.meeting.is_met() => Some(error),
            }
        };
        match stop.run_until_cancelled(waiting).await {
            Some(found) => failed = found,
            None => return,
        }
    }
}

/// Has the heads of receipts proved, until that fails; none where the hub does not answer.
async fn prove_receipts(app: &App) -> Option<ClientError> {
    loop {
        tokio::time::sleep(PROVED_EVERY).await;
        match tokio::time::timeout(PATIENCE, app.client.settle()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(error),
            Err(_) => return None,
        }
    }
}

/// The same for the last time, when no more answers come.
pub(crate) async fn prove_last_receipts(apps: &[Arc<App>]) {
    let proofs = async {
        for app in apps.iter().filter(|app| app.meeting.is_met()) {
            if let Err(error) = app.client.settle().await {
                tracing::error!(app = app.name.as_str(), %error, "the heads of the last receipts were not proved");
            }
        }
    };
    if tokio::time::timeout(LAST_PROOFS, proofs).await.is_err() {
        tracing::warn!("the hub was too slow to prove the heads of the last receipts");
    }
}

fn note<T>(app: &App, met: Option<Result<T, ClientError>>, pause: &mut Duration) -> Duration {
    let before = app.meeting.get();
    let name = app.name.as_str();
    let (state, wait) = match met {
        Some(Ok(_)) => {
            *pause = FIRST_PAUSE;
            if before != MET {
                tracing::info!(app = name, head = app.client.head().size, "met the hub");
            }
            (MET, EVERY)
        }
        Some(Err(error @ ClientError::Unverified(_))) => {
            tracing::error!(app = name, %error, "the hub's ledger cannot be believed; nothing is asked");
            (ALARM, EVERY)
        }
        missed => {
            let why = missed.and_then(Result::err).map_or_else(|| "no answer".to_owned(), |e| e.to_string());
            if before != AWAY {
                tracing::warn!(app = name, %why, "the hub was not met; it is tried again");
            }
            *pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            // What once was alarming stays so until a meeting goes well.
            (if matches!(before, NEVER | ALARM) { before } else { AWAY }, *pause)
        }
    };
    app.meeting.state.store(state, Ordering::Release);
    wait
}
