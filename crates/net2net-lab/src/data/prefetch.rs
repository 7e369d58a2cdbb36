//! Work done ahead on another thread, in order, a few items at most.

use std::any::Any;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use super::DataError;

/// Items that wait to be taken. Enough to even out the steps, few enough to stay in the cache.
const DEPTH: usize = 3;

/// The items `produce(step)` for each step of a range, made ahead on a thread of their own.
/// Dropping it ends the thread, after the item in work at the most, and waits for that end.
#[derive(Debug)]
pub(super) struct Prefetch<T> {
    /// Taken away to tell the worker that nobody listens any more.
    items: Option<Receiver<T>>,
    worker: Option<JoinHandle<()>>,
    /// Items not yet handed over: tells a worker that has finished from one that has died.
    left: usize,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the worker.
    ///
    /// # Errors
    /// [`DataError::WorkerStart`] if the system gives no thread.
    pub(super) fn start(
        steps: Range<usize>,
        mut produce: impl FnMut(usize) -> T + Send + 'static,
    ) -> Result<Self, DataError> {
        let left = steps.len();
        let (sender, items) = mpsc::sync_channel(DEPTH);
        let work = move || {
            for step in steps {
                if sender.send(produce(step)).is_err() {
                    return;
                }
            }
        };
        let worker = thread::Builder::new()
            .name("data loader".to_owned())
            .spawn(work)
            .map_err(|source| DataError::WorkerStart { source })?;
        Ok(Self {
            items: Some(items),
            worker: Some(worker),
            left,
        })
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        if let Some(item) = self.items.as_ref().and_then(|items| items.recv().ok()) {
            self.left -= 1;
            return Some(Ok(item));
        }
        // The worker is gone before its time: say so once, then end.
        self.left = 0;
        let message = match self.worker.take().map(JoinHandle::join) {
            Some(Err(payload)) => panic_message(payload.as_ref()),
            _ => "it ended early".to_owned(),
        };
        Some(Err(DataError::WorkerPanicked { message }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // First the receiver, so that a worker that waits for room is woken by an error; then it
        // can be waited for.
        self.items = None;
        if let Some(worker) = self.worker.take() {
            // A panic after the last item that was wanted concerns nobody.
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
        let mut items = Prefetch::start(5..9, |step| step * 10).unwrap();
        let all: Vec<usize> = items.by_ref().map(Result::unwrap).collect();
        assert_eq!(all, [50, 60, 70, 80]);
        assert!(items.next().is_none());
    }

    #[test]
    fn only_a_few_are_made_ahead_and_dropping_early_ends_the_thread() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut items = Prefetch::start(0..1_000_000, move |_| {
            counter.fetch_add(1, Ordering::SeqCst)
        })
        .unwrap();
        assert_eq!(items.next().unwrap().unwrap(), 0);
        drop(items);
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
        let mut items = Prefetch::start(0..10, |step| {
            assert!(step < 2, "step {step} is bad");
            step
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
