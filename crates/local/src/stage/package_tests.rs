//! What lies in the zip, byte for byte where a deployment depends on it.

use std::collections::BTreeMap;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder =
            Folder(std::env::temp_dir().join(format!("switchyard-pack-{}-{name}", std::process::id())));
        for (path, text) in [
            ("dist/host.json", "{}"),
            ("dist/Sweep/function.json", "{\"bindings\":[]}"),
            ("dist/Health/function.json", "{}"),
            ("dist/handler", "\x7fELF the program, the program, the program"),
            ("dist/local.settings.json", "a secret"),
            ("dist/.keys/host-keys.json", "a secret"),
            ("dist/.funcignore", "/.keys/\n"),
        ] {
            folder.write(path, text);
        }
        folder
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn pack(&self, file: &str) -> Result<Packed, Error> {
        pack(&self.0.join("dist"), &self.0.join(file))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Of each entry of the zip's directory: who made it, and the attributes that it gave.
fn attributes(zip: &[u8]) -> BTreeMap<String, (u8, u32)> {
    let mut found = BTreeMap::new();
    let is_entry = |at: &usize| zip[*at..].starts_with(b"PK\x01\x02");
    for at in (0..zip.len()).filter(is_entry) {
        let length = usize::from(u16::from_le_bytes([zip[at + 28], zip[at + 29]]));
        let name = String::from_utf8(zip[at + 46..at + 46 + length].to_vec()).unwrap();
        let attributes = u32::from_le_bytes(zip[at + 38..at + 42].try_into().unwrap());
        found.insert(name, (zip[at + 5], attributes));
    }
    found
}

#[test]
fn the_zip_holds_the_app_and_the_handler_alone_may_run() {
    let folder = Folder::new("content");
    let packed = folder.pack("app.zip").unwrap();
    let names = ["Health/function.json", "Sweep/function.json", "handler", "host.json"];
    assert_eq!(packed.entries, names);
    let bytes = std::fs::read(&packed.file).unwrap();
    assert_eq!(packed.bytes, bytes.len() as u64);
    // Made by Unix (3); a regular file with its mode in the upper half.
    let plain = (3, 0o100_644 << 16);
    let expected =
        names.map(|name| (name.to_owned(), if name == "handler" { (3, 0o100_755 << 16) } else { plain }));
    assert_eq!(attributes(&bytes), BTreeMap::from(expected));

    let mut zip = zip::ZipArchive::new(File::open(&packed.file).unwrap()).unwrap();
    for name in names {
        let mut text = String::new();
        zip.by_name(name).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, std::fs::read_to_string(folder.0.join("dist").join(name)).unwrap());
    }
    assert_eq!(folder.names(), ["app.zip", "dist"], "nothing is left beside it");
}

#[test]
fn two_runs_give_the_same_bytes() {
    let (folder, again) = (Folder::new("first"), Folder::new("second"));
    // Other times, another order of creation.
    std::fs::remove_file(again.0.join("dist/host.json")).unwrap();
    again.write("dist/host.json", "{}");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    File::open(again.0.join("dist/handler")).unwrap().set_modified(long_ago).unwrap();
    let (first, second) = (folder.pack("a.zip").unwrap(), again.pack("b.zip").unwrap());
    assert_eq!(first.sha256, second.sha256);
    assert_eq!(std::fs::read(first.file).unwrap(), std::fs::read(second.file).unwrap());
    // And one byte more is another package.
    again.write("dist/host.json", "{} ");
    assert_ne!(again.pack("b.zip").unwrap().sha256, first.sha256);
}

#[test]
fn what_the_app_needs_cannot_be_left_out() {
    for (line, named) in
        [("handler", "handler"), ("*.json", "json"), ("Sweep/", "Sweep/function.json"), ("[", "[")]
    {
        let folder = Folder::new("needed");
        folder.write("app.zip", "the one before");
        folder.write("dist/.funcignore", line);
        let error = folder.pack("app.zip").unwrap_err().to_string();
        assert!(error.contains(".funcignore") && error.contains(named), "{line}: {error}");
        assert_eq!(std::fs::read_to_string(folder.0.join("app.zip")).unwrap(), "the one before");
    }
}

#[test]
fn a_disk_that_fails_leaves_what_was_there() {
    let folder = Folder::new("disk");
    let error = folder.pack("nowhere/app.zip").unwrap_err().to_string();
    assert!(error.contains("nowhere/app.zip"), "{error}");
    assert_eq!(folder.names(), ["dist"]);
}

#[test]
fn a_program_is_copied_whole_and_executable() {
    let folder = Folder::new("program");
    let packed = copy_program(&folder.0.join("dist/host.json"), &folder.0.join("worker")).unwrap();
    assert_eq!(packed.sha256, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&packed.file).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
