//! Whoever signs at the same time signs together.

use super::{BATCH_MAX, sign_many};
use crate::envelope::SignedStatement;
use crate::keys::SecretKey;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// How often one lets the tasks that are ready run first: by then most of a moment's statements are there, and more turns
/// would make each of them later.
const TURNS: u8 = 8;

/// Signs statements of one kind with one key. Nobody waits for what is not there: each lets the tasks that are ready now
/// run once, and again as long as others come to sign, `TURNS` times at most; who then finds nobody new signs for all.
/// One alone is signed as ever.
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

/// One that waits. When it is dropped before it was signed it signs for everybody, so that nobody is signed later with what
/// was given up.
struct Waiter<'a> {
    together: &'a Together,
    ended: bool,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.together.sign_waiting();
        }
    }
}

impl Together {
    /// For statements of a kind, a single one's payload type.
    pub fn new(kind: &'static str, key: SecretKey) -> Self {
        Self { kind, key, waiting: Mutex::default() }
    }

    /// How many wait, of whom this is one.
    fn waiting_with(&self, place: &Arc<Place>) -> Option<usize> {
        let waiting = lock(&self.waiting);
        waiting.iter().any(|one| Arc::ptr_eq(&one.place, place)).then_some(waiting.len())
    }

    fn sign_waiting(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let (payloads, places): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|one| (one.payload, one.place)).unzip();
        let signed = sign_many(self.kind, payloads, &self.key);
        for (place, signed) in places.into_iter().zip(signed) {
            place.fill(signed);
        }
    }

    /// Signs a payload.
    pub async fn sign(&self, payload: Vec<u8>) -> SignedStatement {
        let place = Arc::<Place>::default();
        lock(&self.waiting).push(Waiting { payload, place: Arc::clone(&place) });
        let mut waiter = Waiter { together: self, ended: false };
        let (mut seen, mut turns) = (0, 0);
        poll_fn(|context| {
            if let Some(signed) = lock(&place.0).signed.take() {
                waiter.ended = true;
                return Poll::Ready(signed);
            }
            match self.waiting_with(&place) {
                Some(come) if come > seen && come < BATCH_MAX && turns < TURNS => {
                    (seen, turns) = (come, turns + 1);
                    context.waker().wake_by_ref();
                }
                // Also for one that came first: it may rest in a future that nobody polls.
                Some(_) => self.sign_waiting(),
                // Another signs for this one just now, and who came since is not its matter.
                None => {}
            }
            let mut filled = lock(&place.0);
            match filled.signed.take() {
                Some(signed) => {
                    waiter.ended = true;
                    Poll::Ready(signed)
                }
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
    fn who_comes_while_the_others_yield_is_signed_with_them() {
        let together = together();
        let mut signing: Vec<_> = (0..60_u8).map(|number| Box::pin(together.sign(vec![number]))).collect();
        let mut context = Context::from_waker(Waker::noop());
        for one in &mut signing {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        assert!(signing[0].as_mut().poll(&mut context).is_pending(), "others came since");
        let key = SecretKey::from_seed(&[1; 32]).public();
        // Since the last came nobody did.
        for (number, mut one) in (0..60_u8).zip(signing).rev() {
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
    fn who_makes_it_enough_signs_for_all() {
        let together = together();
        let mut context = Context::from_waker(Waker::noop());
        let mut signing: Vec<_> = (0..BATCH_MAX).map(|_| Box::pin(together.sign(vec![1]))).collect();
        let mut pending = 0;
        for one in &mut signing {
            pending += usize::from(one.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(pending, BATCH_MAX - 1);
    }

    #[test]
    fn one_that_is_cancelled_signs_for_the_others() {
        let together = together();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(together.sign(vec![1]));
        let mut other = pin!(together.sign(vec![2]));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(lock(&together.waiting).is_empty(), "the one that went has signed");
        assert!(other.as_mut().poll(&mut context).is_ready());
    }
}
