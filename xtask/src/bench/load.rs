//! How much of the machine a contestant had, and how much others took. Linux tells; elsewhere
//! nothing is known.

/// Processor time so far, in the system's ticks.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    total: u64,
    busy: u64,
    own: u64,
}

/// What happened between two samples.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Processor time of the contestant, of all its threads together.
    pub(super) cpu_ms: f64,
    /// The share of all cores that others took.
    pub(super) others: f64,
}

/// What a tick is for user programs, on every Linux in use.
const TICK_MS: f64 = 10.0;

impl Sample {
    /// The state of the machine and of one process.
    pub(super) fn take(process: u32) -> Option<Sample> {
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        let process = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        Sample::parse(&machine, &process)
    }

    fn parse(machine: &str, process: &str) -> Option<Sample> {
        // user, nice, system, idle, waiting for disks, two kinds of interrupts, stolen by the host;
        // what follows is part of the first two.
        let line = machine.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .flat_map(str::parse)
            .collect();
        let total: u64 = ticks.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        // The second field, a name in parentheses, may hold anything.
        let (_, rest) = process.rsplit_once(')')?;
        let own: Vec<u64> = rest
            .split_whitespace()
            .skip(11)
            // In user programs and in the system, then the same of children that have ended.
            .take(4)
            .flat_map(str::parse)
            .collect();
        Some(Sample {
            total,
            busy: total - idle,
            own: own.iter().sum(),
        })
    }

    /// What happened since an earlier sample.
    pub(super) fn since(self, earlier: Sample) -> Load {
        let own = self.own.saturating_sub(earlier.own);
        let busy = self.busy.saturating_sub(earlier.busy);
        let total = self.total.saturating_sub(earlier.total).max(1);
        Load {
            cpu_ms: own as f64 * TICK_MS,
            others: busy.saturating_sub(own) as f64 / total as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn what_others_took_is_what_is_busy_less_our_own() {
        let machine =
            |user: u64, idle: u64| format!("cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1\n");
        let process = |user: u64| format!("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 {user} 0 0 0\n");
        let before = Sample::parse(&machine(100, 1000), &process(10)).unwrap();
        let after = Sample::parse(&machine(160, 1040), &process(60)).unwrap();
        let load = after.since(before);
        assert_eq!((load.cpu_ms, load.others), (500.0, 0.1));
    }
}
