//! TTLs of a message that is about to be sent.

/// What the TTLs of a stored message become on their way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Counted down by this many seconds (RFC 1034 section 5.3.3's aging of cached data).
    Seconds(u32),
    /// All set to this, because the answer has expired (RFC 8767 section 5).
    Expired(u32),
    /// As stored.
    Kept,
}

/// Rewrites the 32-bit TTLs that stand at `offsets` in `message`.
pub fn rewrite(message: &mut [u8], offsets: impl Iterator<Item = usize>, age: Age) {
    for at in offsets {
        let Some(field) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) else {
            continue;
        };
        let ttl_secs = u32::from_be_bytes(*field);
        let sent_secs = match age {
            Age::Seconds(seconds) => ttl_secs.saturating_sub(seconds),
            Age::Expired(seconds) => seconds,
            Age::Kept => return,
        };
        *field = sent_secs.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(age: Age, expected: u32) {
        let mut message = [0xff, 0, 0, 0, 30, 0xff];
        rewrite(&mut message, [1, 100].into_iter(), age);
        assert_eq!(u32::from_be_bytes([message[1], message[2], message[3], message[4]]), expected);
        assert_eq!((message[0], message[5]), (0xff, 0xff));
    }

    #[test]
    fn ttls_count_down_to_zero() {
        check(Age::Seconds(12), 18);
        check(Age::Seconds(31), 0);
        check(Age::Kept, 30);
        check(Age::Expired(7), 7);
    }
}
