//! What a program for Linux needs of the machine that it is sent to, read from its ELF tables.
//!
//! The dynamic linker refuses a program whose glibc symbols are newer than the machine's glibc, and
//! says so in a log that nobody can reach on a serverless plan. So it is asked here, before anything
//! is sent: [`Needs::read`] tells what a file needs, [`Needs::fit`] whether a place has it.

use std::fmt;

mod table;

use table::Table;

/// `e_machine` of x86-64: the only machine of Flex Consumption and of the GPU sizes.
const X86_64: u16 = 62;
/// The dynamic linker of glibc. Another one, as musl's, is on none of our images.
const INTERPRETER: &str = "/lib64/ld-linux-x86-64.so.2";
/// What every Linux image with a glibc has.
const PRESENT: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];

/// A version of glibc, as 2.31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc(pub u16, pub u16);

impl Glibc {
    /// `GLIBC_2.34` and `GLIBC_2.2.5`; an ABI mark stands for the version that brought it.
    fn named(name: &str) -> Option<Glibc> {
        match name.strip_prefix("GLIBC_")? {
            // Packed relative relocations; glibc 2.36's release notes.
            "ABI_DT_RELR" => Some(Glibc(2, 36)),
            number => {
                let mut parts = number.split('.').map(str::parse);
                Some(Glibc(parts.next()?.ok()?, parts.next()?.ok()?))
            }
        }
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the kernel.
    Nothing,
    /// A dynamic linker and libraries.
    Libraries {
        /// The dynamic linker.
        interpreter: String,
        /// Names of the libraries, in the file's order.
        libraries: Vec<String>,
        /// The highest version of glibc, with a symbol of it.
        glibc: Option<(Glibc, String)>,
    },
}

/// Where a program is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// How people call it.
    pub name: &'static str,
    /// Its glibc.
    pub glibc: Glibc,
}

/// The oldest image that Functions v4 was seen to run Linux apps on: Debian 11, as the maintainers say
/// in Azure/azure-functions-python-worker#1651 (2025-03). What Flex Consumption has is not published.
pub const FUNCTIONS: Image =
    Image { name: "the oldest image of Functions v4 (Debian 11)", glibc: Glibc(2, 31) };
/// Ubuntu 22.04, the older one of the node images that Azure Batch still supports.
pub const NODE: Image = Image { name: "a node of image ubuntu-hpc 2204", glibc: Glibc(2, 35) };

/// Why a file is no program for x86-64 Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A script, a Windows or macOS program, anything.
    #[error("it is no program for 64-bit Linux (ELF)")]
    NotElf,
    /// Built for another processor.
    #[error("it is built for another processor (e_machine {0}), and Azure runs it on x86-64 (62)")]
    Machine(u16),
    /// A table lies outside the file, or there is none.
    #[error("its {0} cannot be read; it is cut short, or a packer was at it")]
    Broken(&'static str),
}

/// Why a program would not start on an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A symbol is newer than the image.
    #[error("it needs GLIBC_{needed} (symbol {symbol}), and {} has glibc {}", image.name, image.glibc)]
    Glibc {
        /// The version that it needs.
        needed: Glibc,
        /// A symbol of that version.
        symbol: String,
        /// The image.
        image: Image,
    },
    /// Another dynamic linker.
    #[error("its dynamic linker is {interpreter}, which {} has not", image.name)]
    Interpreter {
        /// The linker's path.
        interpreter: String,
        /// The image.
        image: Image,
    },
    /// A library that images do not have by themselves.
    #[error("it needs the library {library}, which {} need not have", image.name)]
    Library {
        /// The library.
        library: String,
        /// The image.
        image: Image,
    },
}

impl Needs {
    /// Reads the whole file of a program.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(file: &[u8]) -> Result<Needs, Unreadable> {
        let table = Table::read(file)?;
        if table.machine != X86_64 {
            return Err(Unreadable::Machine(table.machine));
        }
        let libraries = table.libraries()?;
        match table.interpreter()? {
            // A static program that is position-independent still has a dynamic section, for itself.
            None if libraries.is_empty() => Ok(Needs::Nothing),
            // Whoever asks for a linker asks it for something.
            Some(_) if libraries.is_empty() => Err(Unreadable::Broken("dynamic section")),
            interpreter => {
                let named = table.versions()?.into_iter();
                let known = named.filter_map(|(name, symbol)| Some((Glibc::named(&name)?, symbol)));
                Ok(Needs::Libraries {
                    interpreter: interpreter.unwrap_or_default(),
                    libraries,
                    glibc: known.max(),
                })
            }
        }
    }

    /// Whether an image has all of it.
    ///
    /// # Errors
    /// [`Unfit`] with the first thing that the image has not.
    pub fn fit(&self, image: Image) -> Result<(), Unfit> {
        let Needs::Libraries { interpreter, libraries, glibc } = self else { return Ok(()) };
        if interpreter != INTERPRETER {
            return Err(Unfit::Interpreter { interpreter: interpreter.clone(), image });
        }
        if let Some(library) = libraries.iter().find(|name| !PRESENT.contains(&name.as_str())) {
            return Err(Unfit::Library { library: library.clone(), image });
        }
        match glibc {
            Some((needed, symbol)) if *needed > image.glibc => {
                Err(Unfit::Glibc { needed: *needed, symbol: symbol.clone(), image })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "elf/tests.rs"]
mod tests;
