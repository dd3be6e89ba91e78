//! Whoever signs at the same time signs together.

use super::sign_many;
use crate::envelope::SignedStatement;
use crate::keys::SecretKey;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Signs statements of one kind with one key. Nobody waits for others to come: who finds nobody waiting lets the
/// tasks that are ready now run once, and signs for all that have come by then. One alone is signed as ever.
#[derive(Debug)]
pub struct Together {
    kind: &'static str,
    key: SecretKey,
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    payload: Vec<u8>,
    place: Arc<Place>,
}

#[derive(Debug, Default)]
struct Place(Mutex<Filled>);

#[derive(Debug, Default)]
struct Filled {
    signed: Option<SignedStatement>,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn fill(&self, signed: SignedStatement) {
        let mut filled = lock(&self.0);
        filled.signed = Some(signed);
        let waker = filled.waker.take();
        drop(filled);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Signs for everybody when it is dropped, so that nobody waits for a leader that was cancelled.
struct Lead<'a>(&'a Together);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut *lock(&self.0.waiting));
        let (payloads, places): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|one| (one.payload, one.place)).unzip();
        let signed = sign_many(self.0.kind, payloads, &self.0.key);
        for (place, signed) in places.into_iter().zip(signed) {
            place.fill(signed);
        }
    }
}

impl Together {
    /// For statements of a kind, a single one's payload type.
    pub fn new(kind: &'static str, key: SecretKey) -> Self {
        Self { kind, key, waiting: Mutex::default() }
    }

    /// Signs a payload.
    pub async fn sign(&self, payload: Vec<u8>) -> SignedStatement {
        let place = Arc::<Place>::default();
        let leads = {
            let mut waiting = lock(&self.waiting);
            waiting.push(Waiting { payload, place: Arc::clone(&place) });
            waiting.len() == 1
        };
        if leads {
            let lead = Lead(self);
            let mut yielded = false;
            poll_fn(|context| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            drop(lead);
        }
        let mut looked = false;
        poll_fn(|context| {
            if std::mem::replace(&mut looked, true) {
                // Polled again and not yet signed: whoever leads may rest in a future that nobody polls.
                let waits = lock(&place.0).signed.is_none();
                if waits {
                    drop(Lead(self));
                }
            } else {
                context.waker().wake_by_ref();
            }
            let mut filled = lock(&place.0);
            match filled.signed.take() {
                Some(signed) => Poll::Ready(signed),
                None => {
                    filled.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::payload_type::REQUEST;
    use std::pin::pin;
    use std::task::Context;

    fn together() -> Together {
        Together::new(REQUEST, SecretKey::from_seed(&[1; 32]))
    }

    #[test]
    fn who_comes_while_the_first_yields_is_signed_with_it() {
        let together = together();
        let mut signing: Vec<_> = (0..70_u8).map(|number| Box::pin(together.sign(vec![number]))).collect();
        let mut context = Context::from_waker(Waker::noop());
        for one in &mut signing {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        let key = SecretKey::from_seed(&[1; 32]).public();
        for (number, mut one) in (0_u8..).zip(signing) {
            let Poll::Ready(signed) = one.as_mut().poll(&mut context) else {
                panic!("{number} is not signed")
            };
            assert!(signed.is_in_batch());
            assert_eq!(signed.verify(REQUEST, &key).unwrap().as_ref(), [number]);
        }
        // The next begins anew, and is alone.
        let mut next = pin!(together.sign(vec![7]));
        assert!(next.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(signed) = next.as_mut().poll(&mut context) else { panic!("not signed") };
        assert!(!signed.is_in_batch());
    }

    #[test]
    fn a_leader_that_is_cancelled_signs_for_the_others() {
        let together = together();
        let mut context = Context::from_waker(Waker::noop());
        let mut leader = Box::pin(together.sign(vec![1]));
        let mut other = pin!(together.sign(vec![2]));
        assert!(leader.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(leader);
        assert!(other.as_mut().poll(&mut context).is_ready());
    }
}
