//! Threads that help the calling one, and stay awake for a moment after they did.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::{Scope, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield};

/// How long a thread that has nothing to do looks for work before it sleeps. Waking one takes
/// tens of microseconds on some machines, as long as many a kernel of a small network, and the
/// next kernel of a step follows within microseconds.
const LINGER: Duration = Duration::from_micros(200);

/// The threads beside the calling one, which does its share too.
pub(crate) struct Helpers {
    pool: ThreadPool,
    /// Which of them look for work at the moment.
    lingering: Arc<[AtomicBool]>,
}

impl Helpers {
    /// Starts `count` threads.
    pub(crate) fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self {
            pool: ThreadPoolBuilder::new()
                .num_threads(count)
                .thread_name(|i| format!("kernel-{i}"))
                .build()?,
            lingering: (0..count).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// Runs `work` on the calling thread, and what it spawns on the helpers, `wanted` of them if it spawns so
    /// often; returns when all of it is done.
    pub(crate) fn scope<'s>(&self, wanted: usize, work: impl FnOnce(&Spawner<'_, 's>)) {
        self.linger(wanted);
        let open = Arc::new(AtomicUsize::new(0));
        self.pool.in_place_scope(|scope| {
            work(&Spawner { scope, open: &open });
            // The scope would sleep until the others are done, which is soon.
            wait(|| open.load(Ordering::Acquire) == 0);
        });
    }

    /// Has some helpers look for work, if fewer than `wanted` do.
    fn linger(&self, wanted: usize) {
        let all = self.lingering.iter();
        let count = all.filter(|one| one.load(Ordering::Relaxed)).count();
        for _ in count..wanted.min(self.lingering.len()) {
            let lingering = self.lingering.clone();
            self.pool.spawn(move || {
                let Some(mine) = rayon::current_thread_index().map(|index| &lingering[index])
                else {
                    return;
                };
                // One that looks for work may be given this: it need not look twice.
                if mine.swap(true, Ordering::Relaxed) {
                    return;
                }
                while wait(|| rayon::yield_now() == Some(Yield::Executed)) {}
                mine.store(false, Ordering::Relaxed);
            });
        }
    }
}

/// What gives work to the helpers.
pub(crate) struct Spawner<'a, 's> {
    scope: &'a Scope<'s>,
    open: &'a Arc<AtomicUsize>,
}

impl<'s> Spawner<'_, 's> {
    /// Has a helper do `work`.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 's) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = self.open.clone();
        self.scope.spawn(move |_| {
            work();
            open.fetch_sub(1, Ordering::Release);
        });
    }
}

/// Looks again and again whether something is so, but not for ever; whether it was.
fn wait(mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        for _ in 0..16 {
            if done() {
                return true;
            }
            spin_loop();
        }
        // Others may need the core.
        std::thread::yield_now();
        if begin.elapsed() > LINGER {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_when_the_scope_ends_also_after_the_helpers_slept() {
        let helpers = Helpers::new(2).unwrap();
        for pause in [0, 0, 5, 0] {
            std::thread::sleep(Duration::from_millis(pause));
            let mut numbers = [0; 3];
            helpers.scope(3, |spawner| {
                for (i, number) in (1..).zip(&mut numbers) {
                    spawner.spawn(move || *number = i);
                }
            });
            assert_eq!(numbers, [1, 2, 3]);
        }
    }

    #[test]
    fn a_panic_of_a_helper_reaches_the_caller() {
        let helpers = Helpers::new(1).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            helpers.scope(1, |spawner| {
                spawner.spawn(|| std::panic::resume_unwind(Box::new(1)))
            });
        }));
        assert!(panicked.is_err());
        helpers.scope(1, |spawner| spawner.spawn(|| ()));
    }
}
