//! Real-time priority of the threads that carry packets, where the service may give it: a codec that takes every core then delays no packet.

use rustix::process::{Resource, getrlimit};
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Of 1 to 99. Below what sound servers give themselves (20 and more) and what threads of the kernel have (50).
const WANTED: u8 = 10;

/// What the limit (`LimitRTPRIO=` of the unit) leaves of that; `None`: nothing. Whoever starts the program by hand has no limit raised,
/// even root, and keeps an ordinary machine. With one core alone packets would hold up all else.
fn granted(limit: Option<u64>, cores: usize) -> Option<u8> {
    let level = u8::try_from(limit.unwrap_or(u64::MAX).min(u64::from(WANTED))).unwrap_or(WANTED);
    (level > 0 && cores > 1).then_some(level)
}

/// Raises the calling thread as far as that is granted. What it starts later has it, too.
pub(super) fn raise(cores: usize) {
    let Some(level) = granted(getrlimit(Resource::Rtprio).current, cores) else { return };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let raised = ThreadPriorityValue::try_from(level).map_err(|error| error.to_owned()).and_then(|value| {
        let priority = ThreadPriority::Crossplatform(value);
        set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(|error| format!("{error:?}"))
    });
    match raised {
        Ok(()) => tracing::debug!(level, "media thread has real-time priority"),
        Err(error) => tracing::warn!(level, %error, "media thread has no real-time priority"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_is_what_the_limit_leaves() {
        for (limit, cores, level) in
            [(Some(0), 4, None), (Some(20), 4, Some(10)), (Some(3), 4, Some(3)), (None, 2, Some(10)), (Some(20), 1, None)]
        {
            assert_eq!(granted(limit, cores), level, "{limit:?} {cores}");
        }
    }
}
