//! Programs made to measure, and the real one that runs these tests.

use super::*;

/// A version of `libc.so.6`, a symbol of it, and whether only weak ones have it.
type Version<'a> = (&'a str, &'a str, bool);

/// A dynamic program.
struct Made<'a> {
    machine: u16,
    interpreter: &'a str,
    libraries: &'a [&'a str],
    versions: &'a [Version<'a>],
}

const PLAIN: Made<'static> =
    Made { machine: X86_64, interpreter: INTERPRETER, libraries: &["libc.so.6"], versions: &[] };

/// The texts of a string table, each once.
#[derive(Default)]
struct Names(Vec<u8>);

impl Names {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len();
        self.0.extend(text.bytes().chain([0]));
        u32::try_from(at).unwrap()
    }
}

impl Made<'_> {
    fn file(&self) -> Vec<u8> {
        let mut names = Names(vec![0]);
        let needed = self.libraries.iter().map(|name| [1, u64::from(names.add(name))]);
        let dynamic: Vec<u8> =
            needed.chain([[0, 0]]).flatten().flat_map(|number: u64| number.to_le_bytes()).collect();
        let (mut symbols, mut of_symbol) = (vec![0; 24], vec![0, 0]);
        let mut needed = Vec::new();
        for (n, (version, symbol, is_weak)) in self.versions.iter().enumerate() {
            let index = u16::try_from(n + 2).unwrap();
            if !symbol.is_empty() {
                symbols.extend(names.add(symbol).to_le_bytes().into_iter().chain([0; 20]));
                of_symbol.extend((index | VERSION_HIDDEN_BIT).to_le_bytes());
            }
            let is_last = n + 1 == self.versions.len();
            needed.extend([0; 4]);
            needed.extend((u16::from(*is_weak) * 2).to_le_bytes());
            needed.extend(index.to_le_bytes());
            needed.extend(names.add(version).to_le_bytes());
            needed.extend((if is_last { 0_u32 } else { 16 }).to_le_bytes());
        }
        let mut library = vec![1, 0];
        library.extend(u16::try_from(self.versions.len()).unwrap().to_le_bytes());
        library.extend(names.add("libc.so.6").to_le_bytes());
        library.extend(16_u32.to_le_bytes());
        library.extend([0; 4]);
        library.extend(needed);
        // Kind, content and the section of its texts, which is the first real one.
        let sections: [(u32, Vec<u8>, u32); 5] = [
            (3, names.0, 0),
            (6, dynamic, 1),
            (11, symbols, 1),
            (0x6fff_ffff, of_symbol, 3),
            (0x6fff_fffe, library, 1),
        ];
        self.assembled(&sections)
    }

    /// Header, one segment, the contents, the table of sections.
    fn assembled(&self, sections: &[(u32, Vec<u8>, u32)]) -> Vec<u8> {
        let mut file = vec![0_u8; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&self.machine.to_le_bytes());
        let segments = u16::from(!self.interpreter.is_empty());
        for (at, value) in [(0x36, 56), (0x38, segments), (0x3a, 64), (0x3c, 6)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file[0x20..0x28].copy_from_slice(&64_u64.to_le_bytes());
        file[64..68].copy_from_slice(&3_u32.to_le_bytes());
        file[72..80].copy_from_slice(&120_u64.to_le_bytes());
        file.extend(self.interpreter.bytes().chain([0]));
        let mut table = vec![0_u8; 64];
        for (kind, content, link) in sections {
            let mut entry = [0_u8; 64];
            entry[4..8].copy_from_slice(&kind.to_le_bytes());
            entry[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
            entry[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            entry[40..44].copy_from_slice(&link.to_le_bytes());
            table.extend(entry);
            file.extend(content);
        }
        let start = file.len() as u64;
        file[0x28..0x30].copy_from_slice(&start.to_le_bytes());
        file.extend(table);
        file
    }
}

const VERSION_HIDDEN_BIT: u16 = 0x8000;

#[test]
fn the_newest_symbol_decides() {
    let cases: [(&[Version<'_>], Option<&str>); 6] = [
        (&[("GLIBC_2.2.5", "memcpy", false), ("GLIBC_2.31", "x", false)], None),
        (
            &[("GLIBC_2.34", "pthread_join", false), ("GLIBC_2.9", "pipe2", false)],
            Some(
                "it needs GLIBC_2.34 (symbol pthread_join), and the oldest image of Functions v4 (Debian 11) has glibc 2.31",
            ),
        ),
        (&[("GLIBC_2.38", "__isoc23_strtol", false)], Some("GLIBC_2.38 (symbol __isoc23_strtol)")),
        // Rust's own `pidfd_spawnp`: the linker warns at most.
        (&[("GLIBC_2.39", "pidfd_spawnp", true)], None),
        (&[("GLIBC_ABI_DT_RELR", "", false)], Some("GLIBC_2.36 (symbol GLIBC_ABI_DT_RELR)")),
        (&[("GCC_4.2.0", "_Unwind_Resume", false)], None),
    ];
    for (versions, expected) in cases {
        let needs = Needs::read(&Made { versions, ..PLAIN }.file()).unwrap();
        match (needs.fit(FUNCTIONS), expected) {
            (Ok(()), None) => {}
            (Err(unfit), Some(part)) => assert!(unfit.to_string().contains(part), "{unfit}"),
            (found, _) => panic!("{versions:?}: {found:?}"),
        }
    }
}

#[test]
fn what_an_image_has_not_is_named() {
    let musl = Made { interpreter: "/lib/ld-musl-x86_64.so.1", ..PLAIN };
    let unfit = Needs::read(&musl.file()).unwrap().fit(NODE).unwrap_err();
    assert!(unfit.to_string().contains("/lib/ld-musl-x86_64.so.1"), "{unfit}");
    let cuda = Made { libraries: &["libc.so.6", "libcuda.so.1"], ..PLAIN };
    let unfit = Needs::read(&cuda.file()).unwrap().fit(NODE).unwrap_err();
    assert!(unfit.to_string().contains("libcuda.so.1"), "{unfit}");
}

#[test]
fn a_static_program_needs_nothing() {
    let made = Made { interpreter: "", libraries: &[], ..PLAIN };
    assert_eq!(Needs::read(&made.file()), Ok(Needs::Nothing));
    assert_eq!(Needs::Nothing.fit(FUNCTIONS), Ok(()));
}

#[test]
fn other_files_are_refused() {
    let arm = Made { machine: 183, ..PLAIN };
    let none = Made { libraries: &[], ..PLAIN };
    let cases = [
        (b"#!/bin/sh\n".to_vec(), Unreadable::NotElf),
        (b"\x7fELF\x02\x01".to_vec(), Unreadable::Broken("header")),
        (arm.file(), Unreadable::Machine(183)),
        (none.file(), Unreadable::Broken("dynamic section")),
    ];
    for (file, expected) in cases {
        assert_eq!(Needs::read(&file), Err(expected));
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_or_read_and_never_panics() {
    let file = Made { versions: &[("GLIBC_2.34", "dlsym", false)], ..PLAIN }.file();
    for end in 0..file.len() {
        assert!(Needs::read(&file[..end]).is_err(), "cut at {end}");
    }
    for at in 0..file.len() {
        for byte in [0, 0x7f, 0xff] {
            let mut wrong = file.clone();
            wrong[at] = byte;
            // Whatever it says, it says something.
            let _ = Needs::read(&wrong);
        }
    }
}

#[test]
fn this_very_program_fits_where_it_runs() {
    let program = std::env::current_exe().unwrap();
    let needs = Needs::read(&std::fs::read(program).unwrap()).unwrap();
    let Needs::Libraries { glibc: Some((glibc, symbol)), .. } = &needs else { panic!("{needs:?}") };
    assert!(*glibc >= Glibc(2, 17) && !symbol.starts_with("GLIBC_"), "{needs:?}");
    assert_eq!(needs.fit(Image { name: "this machine", glibc: *glibc }), Ok(()));
    assert!(needs.fit(Image { name: "an older one", glibc: Glibc(2, 2) }).is_err());
}
