//! The tables of an ELF file, as far as the dynamic linker's needs go: little-endian, 64 bit.
//!
//! Every offset comes from the file, so every read is checked. Layouts are those of the System V ABI,
//! chapter "Object Files", and of its GNU extension for symbol versions.

use super::Unreadable;

const PROGRAM_INTERPRETER: u32 = 3;
const SECTION_DYNAMIC: u32 = 6;
const SECTION_SYMBOLS: u32 = 11;
const SECTION_VERSIONS_NEEDED: u32 = 0x6fff_fffe;
const SECTION_VERSION_OF_SYMBOL: u32 = 0x6fff_ffff;
const DYNAMIC_NEEDED: u64 = 1;
/// Only weak symbols have the version: the linker starts the program without it too.
const VERSION_WEAK: u16 = 2;
/// Bit of a symbol's version that hides it; the rest is an index.
const VERSION_HIDDEN: u16 = 0x8000;
/// Bounds a walk that a broken file would make endless.
const ENTRIES_MAX: usize = 1 << 20;

/// A file and where its tables lie.
pub(super) struct Table<'file> {
    file: &'file [u8],
    /// `e_machine`.
    pub(super) machine: u16,
    sections: Vec<Section>,
}

#[derive(Clone, Copy)]
struct Section {
    kind: u32,
    offset: usize,
    size: usize,
    link: usize,
}

impl<'file> Table<'file> {
    pub(super) fn read(file: &'file [u8]) -> Result<Table<'file>, Unreadable> {
        // Class 2 is 64 bit, data 1 is little-endian.
        if file.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(Unreadable::NotElf);
        }
        let broken = Unreadable::Broken("header");
        let mut table = Table { file, machine: half(file, 18).ok_or(broken)?, sections: Vec::new() };
        let (start, size, count) = table.header(0x28, 0x3a, 0x3c).ok_or(broken)?;
        for at in (0..count).map(|n| start + n * size) {
            table.sections.push(table.section(at).ok_or(Unreadable::Broken("table of sections"))?);
        }
        Ok(table)
    }

    /// The dynamic linker that the program asks for.
    pub(super) fn interpreter(&self) -> Result<Option<String>, Unreadable> {
        let broken = Unreadable::Broken("table of segments");
        let (start, size, count) = self.header(0x20, 0x36, 0x38).ok_or(broken)?;
        for at in (0..count).map(|n| start + n * size) {
            if word(self.file, at).ok_or(broken)? == PROGRAM_INTERPRETER {
                let offset = offset(self.file, at + 8).ok_or(broken)?;
                return Ok(Some(text(self.file, offset).ok_or(broken)?));
            }
        }
        Ok(None)
    }

    /// The libraries that it names.
    pub(super) fn libraries(&self) -> Result<Vec<String>, Unreadable> {
        let broken = Unreadable::Broken("dynamic section");
        let Some(dynamic) = self.find(SECTION_DYNAMIC) else { return Ok(Vec::new()) };
        let bytes = self.bytes(dynamic).ok_or(broken)?;
        let names = self.linked(dynamic).ok_or(broken)?;
        let mut libraries = Vec::new();
        for entry in bytes.chunks_exact(16) {
            if double(entry, 0) == Some(DYNAMIC_NEEDED) {
                libraries.push(offset(entry, 8).and_then(|at| text(names, at)).ok_or(broken)?);
            }
        }
        Ok(libraries)
    }

    /// The versions that it needs of its libraries, each with a symbol; an ABI mark, which no symbol
    /// has, with its own name.
    pub(super) fn versions(&self) -> Result<Vec<(String, String)>, Unreadable> {
        let broken = Unreadable::Broken("table of needed versions");
        let Some(section) = self.find(SECTION_VERSIONS_NEEDED) else { return Ok(Vec::new()) };
        let bytes = self.bytes(section).ok_or(broken)?;
        let names = self.linked(section).ok_or(broken)?;
        let mut versions = Vec::new();
        let mut library = 0;
        while versions.len() < ENTRIES_MAX {
            let count = half(bytes, library + 2).ok_or(broken)?;
            let mut at = library + length(bytes, library + 8).ok_or(broken)?;
            for _ in 0..count {
                let (flags, index) = (half(bytes, at + 4).ok_or(broken)?, half(bytes, at + 6).ok_or(broken)?);
                let name = length(bytes, at + 8).and_then(|name| text(names, name)).ok_or(broken)?;
                if flags & VERSION_WEAK == 0 {
                    let symbol = self.symbol_of(index).unwrap_or_else(|| name.clone());
                    versions.push((name, symbol));
                }
                at += length(bytes, at + 12).ok_or(broken)?;
            }
            match length(bytes, library + 12).ok_or(broken)? {
                0 => break,
                next => library += next,
            }
        }
        Ok(versions)
    }

    /// A symbol whose version has this index.
    fn symbol_of(&self, index: u16) -> Option<String> {
        let of_symbol = self.bytes(self.find(SECTION_VERSION_OF_SYMBOL)?)?;
        let section = self.find(SECTION_SYMBOLS)?;
        let (symbols, names) = (self.bytes(section)?, self.linked(section)?);
        let mut pairs = of_symbol.chunks_exact(2).zip(symbols.chunks_exact(24));
        let (_, symbol) = pairs.find(|(version, _)| {
            half(version, 0).is_some_and(|version| version & !VERSION_HIDDEN == index)
        })?;
        text(names, length(symbol, 0)?)
    }

    /// Offset, entry size and count of a table that the file's header tells of.
    fn header(&self, start: usize, size: usize, count: usize) -> Option<(usize, usize, usize)> {
        let (size, count) = (half(self.file, size)?.into(), half(self.file, count)?.into());
        let start = offset(self.file, start)?;
        let end = start.checked_add(size * count)?;
        (end <= self.file.len()).then_some((start, size, count))
    }

    fn section(&self, at: usize) -> Option<Section> {
        Some(Section {
            kind: word(self.file, at + 4)?,
            offset: offset(self.file, at + 24)?,
            size: offset(self.file, at + 32)?,
            link: length(self.file, at + 40)?,
        })
    }

    fn find(&self, kind: u32) -> Option<Section> {
        self.sections.iter().find(|section| section.kind == kind).copied()
    }

    fn bytes(&self, section: Section) -> Option<&'file [u8]> {
        self.file.get(section.offset..section.offset.checked_add(section.size)?)
    }

    /// The texts that a section's numbers mean.
    fn linked(&self, section: Section) -> Option<&'file [u8]> {
        self.bytes(*self.sections.get(section.link)?)
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn double(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A 32-bit number that counts bytes.
fn length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(bytes, at)?).ok()
}

/// A 64-bit number that counts bytes; one past the size of any file is none.
fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(double(bytes, at)?).ok().filter(|offset| *offset <= isize::MAX as usize / 2)
}

/// A text that ends with a zero byte.
fn text(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}
