//! Renews the member's certificate at two thirds of its life, so that the hub may be away for the last one.

use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_client::folder::{Enrolled, FolderError};
use yiwang_proto::ambient::Clock;

/// The longest pause between two looks, so that a jump of the wall clock is seen.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after a renewal that failed: a third of a week leaves thousands of tries.
const AGAIN: Duration = Duration::from_secs(60);
/// The hub writes a ledger entry before it answers; half a minute is far more than that takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Renews whenever it is due, until stopped; tells of each new certificate, so that it is used before the
/// old one ends.
pub(crate) async fn keep_certificate(
    enrolled: Enrolled,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    renewed: impl Fn(),
) {
    while !stop.is_cancelled() {
        let pause = match due_in(&enrolled, clock.as_ref()) {
            Ok(left) if left > Duration::ZERO => left.min(LOOK),
            Ok(_) => {
                let Some(tried) = stop.run_until_cancelled(renew(&enrolled, &clock)).await else { return };
                match tried {
                    Ok(()) => {
                        renewed();
                        continue;
                    }
                    Err(why) => {
                        tracing::warn!(%why, "the member's certificate was not renewed; it is tried again");
                        AGAIN
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "the member's certificate cannot be read");
                AGAIN
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn due_in(enrolled: &Enrolled, clock: &dyn Clock) -> Result<Duration, FolderError> {
    let left_ms = enrolled.certificate()?.renew_at_ms().saturating_sub(clock.now_ms());
    Ok(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)))
}

async fn renew(enrolled: &Enrolled, clock: &Arc<dyn Clock>) -> Result<(), String> {
    let renewing = async {
        let channel = enrolled.channel(Arc::clone(clock)).await?;
        enrolled.renew(channel, clock.as_ref()).await
    };
    match tokio::time::timeout(PATIENCE, renewing).await {
        Ok(Ok(leaf)) => {
            // INVARIANT: what the hub issued must be due later than now, or this would turn in a circle.
            if leaf.renew_at_ms() <= clock.now_ms() {
                return Err("the hub issued a certificate that is due at once".to_owned());
            }
            tracing::info!(ends_ms = leaf.ends_ms, "the member's certificate was renewed");
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("no answer in time".to_owned()),
    }
}
