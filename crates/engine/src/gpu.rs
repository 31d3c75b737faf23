//! How much this machine's GPUs work, as NVML says. The driver's library is opened when it is first asked and
//! there; without driver, library or GPU there is nothing to tell.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use libloading::Library;

/// As the driver installs it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// NVML's own sampling period is up to a second: asking sooner tells the same.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// More GPUs than any machine of the catalogue has; beyond them nobody is asked.
const GPUS_MAX: c_uint = 16;

/// Percent of the last moments in which the GPUs worked, on average over them; none where there is none.
/// Sampled at most once a second, and cheap in between.
pub fn utilization_percent() -> Option<u32> {
    static NVML: LazyLock<Option<Nvml>> = LazyLock::new(|| Nvml::open(LIBRARY));
    static LAST: Mutex<Option<(Instant, Option<u32>)>> = Mutex::new(None);
    let nvml = NVML.as_ref()?;
    let mut last = LAST.lock().expect("no holder of this lock panics");
    match *last {
        Some((at, percent)) if at.elapsed() < SAMPLE_EVERY => percent,
        _ => {
            let percent = nvml.utilization_percent();
            *last = Some((Instant::now(), percent));
            percent
        }
    }
}

/// `nvmlUtilization_t`: percent of the sample period.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

type Init = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type Handle = unsafe extern "C" fn(c_uint, *mut *mut c_void) -> c_int;
type Rates = unsafe extern "C" fn(*mut c_void, *mut Utilization) -> c_int;

/// `NVML_SUCCESS`.
const SUCCESS: c_int = 0;

/// The library, and what is called of it, which lives no longer.
struct Nvml {
    count: Count,
    handle: Handle,
    rates: Rates,
    _library: Library,
}

#[expect(unsafe_code, reason = "NVML is C and opened at run time; every call is of a documented signature")]
impl Nvml {
    fn open(name: &str) -> Option<Nvml> {
        // SAFETY: the driver's library runs no code at loading that needs anything of us. The four symbols
        // have these signatures in every version of `nvml.h` since 5.319, and are used only beside the
        // library, which is never closed before them.
        unsafe {
            let library = Library::new(name).ok()?;
            let init = *library.get::<Init>(b"nvmlInit_v2\0").ok()?;
            let count = *library.get::<Count>(b"nvmlDeviceGetCount_v2\0").ok()?;
            let handle = *library.get::<Handle>(b"nvmlDeviceGetHandleByIndex_v2\0").ok()?;
            let rates = *library.get::<Rates>(b"nvmlDeviceGetUtilizationRates\0").ok()?;
            (init() == SUCCESS).then_some(Nvml { count, handle, rates, _library: library })
        }
    }

    fn utilization_percent(&self) -> Option<u32> {
        let mut count = 0;
        // SAFETY: NVML is initialised and writes one number.
        if unsafe { (self.count)(&raw mut count) } != SUCCESS {
            return None;
        }
        let rates: Vec<u32> = (0..count.min(GPUS_MAX)).filter_map(|index| self.rate(index)).collect();
        let gpus = u32::try_from(rates.len()).unwrap_or(u32::MAX);
        rates.iter().sum::<u32>().checked_div(gpus)
    }

    /// One that is shared out in slices (MIG) tells nothing.
    fn rate(&self, index: c_uint) -> Option<u32> {
        let (mut device, mut rates) = (std::ptr::null_mut(), Utilization::default());
        // SAFETY: NVML is initialised; it writes a handle, which is then passed back to it as it came, and a
        // structure of the layout above.
        let told = unsafe {
            (self.handle)(index, &raw mut device) == SUCCESS
                && (self.rates)(device, &raw mut rates) == SUCCESS
        };
        told.then_some(rates.gpu.min(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_library_there_is_nothing_to_tell() {
        assert!(Nvml::open("libnvidia-ml-of-no-machine.so.1").is_none());
        // Whatever this machine has: a percentage, or nothing.
        assert!(utilization_percent().is_none_or(|percent| percent <= 100));
    }

    /// On a machine with a GPU: `cargo test -p engine --lib gpu -- --ignored`.
    #[test]
    #[ignore = "needs an NVIDIA driver"]
    fn a_gpu_tells_how_much_it_works() {
        assert!(utilization_percent().is_some(), "NVML told nothing");
    }
}
