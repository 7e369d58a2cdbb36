//! Work done ahead on other threads, in order, a few items at most.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::DataError;

/// Items that wait to be taken. Enough to even out the steps, few enough to stay in the cache.
const DEPTH: usize = 3;

/// The items `produce(step)` for each step of a range, made ahead on threads of their own. They
/// come in order whatever the number of threads, and are the same if `produce` depends on nothing but
/// the step. Dropping it ends the threads, after the items in work at the most, and waits for that
/// end.
#[derive(Debug)]
pub(super) struct Prefetch<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    /// The steps not yet handed over.
    left: Range<usize>,
}

/// What the threads and the taker share.
#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// An item was made, or a thread has failed.
    made: Condvar,
    /// An item was taken, or nobody listens any more.
    taken: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The steps that nobody works on yet.
    open: Range<usize>,
    /// Items ready before their turn; an error is the message of a panic.
    ready: BTreeMap<usize, Result<T, String>>,
    /// The step whose item is taken next.
    next: usize,
    stopped: bool,
}

/// The number of threads that the machine runs at once.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic cannot leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `threads` workers; `producer` makes what each of them works with.
    ///
    /// # Errors
    /// [`DataError::WorkerStart`] if the system gives no thread.
    pub(super) fn start<P>(
        steps: Range<usize>,
        threads: usize,
        mut producer: impl FnMut() -> P,
    ) -> Result<Self, DataError>
    where
        P: FnMut(usize) -> T + Send + 'static,
    {
        let threads = threads.clamp(1, steps.len().max(1));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                open: steps.clone(),
                ready: BTreeMap::new(),
                next: steps.start,
                stopped: false,
            }),
            made: Condvar::new(),
            taken: Condvar::new(),
        });
        let mut prefetch = Prefetch {
            shared,
            workers: Vec::new(),
            left: steps,
        };
        for _ in 0..threads {
            let (shared, produce) = (Arc::clone(&prefetch.shared), producer());
            let worker = thread::Builder::new()
                .name("data loader".to_owned())
                .spawn(move || work(&shared, DEPTH + threads - 1, produce))
                .map_err(|source| DataError::WorkerStart { source })?;
            prefetch.workers.push(worker);
        }
        Ok(prefetch)
    }
}

/// Makes one item after the other, at most `ahead` before their turn.
fn work<T>(shared: &Shared<T>, ahead: usize, mut produce: impl FnMut(usize) -> T) {
    loop {
        let step = {
            let mut state = shared.lock();
            while !state.stopped && state.open.start > state.next + ahead {
                state = shared
                    .taken
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped {
                return;
            }
            let Some(step) = state.open.next() else {
                return;
            };
            step
        };
        let item = catch_unwind(AssertUnwindSafe(|| produce(step)))
            .map_err(|payload| panic_message(payload.as_ref()));
        let failed = item.is_err();
        shared.lock().ready.insert(step, item);
        shared.made.notify_all();
        if failed {
            return;
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.left.next()?;
        let mut state = self.shared.lock();
        let item = loop {
            if let Some(item) = state.ready.remove(&step) {
                break item;
            }
            state = self
                .shared
                .made
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        state.next = step + 1;
        // What comes after a panic is of no use.
        state.stopped |= item.is_err();
        drop(state);
        self.shared.taken.notify_all();
        Some(item.map_err(|message| {
            self.left = 0..0;
            DataError::WorkerPanicked { message }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            // Panics were caught.
            let _ = worker.join();
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn items_come_in_order_and_the_end_stays_the_end() {
        let mut items = Prefetch::start(5..9, 1, || |step| step * 10).unwrap();
        let all: Vec<usize> = items.by_ref().map(Result::unwrap).collect();
        assert_eq!(all, [50, 60, 70, 80]);
        assert!(items.next().is_none());
    }

    #[test]
    fn the_order_does_not_depend_on_the_threads() {
        for threads in [1, 2, 5, 50] {
            let items = Prefetch::start(0..40, threads, || {
                |step: usize| {
                    // Later ones are ready earlier.
                    thread::sleep(std::time::Duration::from_micros(500 - 10 * step as u64));
                    step
                }
            })
            .unwrap();
            let all: Vec<usize> = items.map(Result::unwrap).collect();
            assert_eq!(all, (0..40).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn only_a_few_are_made_ahead_and_dropping_early_ends_the_thread() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut items = Prefetch::start(0..1_000_000, 1, || {
            let counter = Arc::clone(&counter);
            move |_| counter.fetch_add(1, Ordering::SeqCst)
        })
        .unwrap();
        assert_eq!(items.next().unwrap().unwrap(), 0);
        drop(items);
        drop(counter);
        // Taken, waiting, in work, and one for which there was room between the take and the drop.
        assert!(made.load(Ordering::SeqCst) <= DEPTH + 3);
        assert_eq!(
            Arc::strong_count(&made),
            1,
            "the thread has given up what it held"
        );
    }

    #[test]
    fn a_panic_becomes_an_error_after_the_good_items() {
        let mut items = Prefetch::start(0..10, 1, || {
            |step| {
                assert!(step < 2, "step {step} is bad");
                step
            }
        })
        .unwrap();
        assert_eq!(items.next().unwrap().unwrap(), 0);
        assert_eq!(items.next().unwrap().unwrap(), 1);
        let error = items.next().unwrap().unwrap_err();
        assert!(
            matches!(&error, DataError::WorkerPanicked { message } if message == "step 2 is bad"),
            "{error:?}"
        );
        assert!(items.next().is_none());
    }
}
