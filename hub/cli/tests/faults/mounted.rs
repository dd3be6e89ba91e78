//! A file system of our own for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs a command; its complaint if it fails or is missing.
pub fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Unmounts at the end.
pub struct Mounted {
    temp: TempDir,
    mounted: bool,
}

impl Mounted {
    fn empty() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("mount")).unwrap();
        Self { temp, mounted: false }
    }

    pub fn ext4(bytes: u64) -> Result<Self, String> {
        let mut mounted = Self::empty();
        let image = mounted.image();
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|e| e.to_string())?;
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()])?;
        mounted.mount()?;
        Ok(mounted)
    }

    fn image(&self) -> PathBuf {
        self.temp.path().join("image")
    }

    pub fn path(&self) -> PathBuf {
        self.temp.path().join("mount")
    }

    pub fn mount(&mut self) -> Result<(), String> {
        let (image, path) = (self.image(), self.path());
        run("mount", &["-t", "ext4", "-o", "loop", image.to_str().unwrap(), path.to_str().unwrap()])?;
        self.mounted = true;
        Ok(())
    }

    pub fn unmount(&mut self) -> Result<(), String> {
        run("umount", &[self.path().to_str().unwrap()])?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted {
            let _ = run("umount", &["-l", self.path().to_str().unwrap_or_default()]);
        }
    }
}

/// Cuts an ext4 off from its device without flushing its journal: what was not synced is gone.
pub fn shut_down(path: &Path) -> Result<(), String> {
    const CODE: &str = "import fcntl, os, struct, sys\n\
        fd = os.open(sys.argv[1], os.O_RDONLY)\n\
        fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";
    run("python3", &["-c", CODE, path.to_str().unwrap()])
}
