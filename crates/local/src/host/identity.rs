//! Ids as the host writes them.

/// A random GUID with dashes.
pub(super) fn guid() -> String {
    let mut bytes = random::<16>();
    // Version 4, variant 1 (RFC 9562).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The beginning of a trace (W3C Trace Context), not sampled: the recorded host writes it so.
pub(super) fn traceparent() -> String {
    format!("00-{}-{}-00", hex(&random::<16>()), hex(&random::<8>()))
}

fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0u8; LENGTH];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
