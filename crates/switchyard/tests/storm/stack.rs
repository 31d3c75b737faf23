//! `switchyard up` over one state folder: started, killed, started again.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clock::Clock;
use local::stack::Ready;
use rustix::process::Signal;

use crate::processes::{self, Process};
use crate::until;

/// How many scaled seconds pass in a real one: a sweep a second.
const SPEED: f64 = 30.0;
/// Seconds until a node takes tasks, by the scaled clock.
const BOOT_S: &str = "15";
/// How soon a platform starts again what has ended.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// What the stack logs when it starts the host again.
const HOST_ENDED: &str = "the host ended; it is started again";

/// A stack of this test's own.
pub struct Stack {
    up: Child,
    /// The `switchyard` that is run.
    program: PathBuf,
    folder: PathBuf,
    epoch_ms: u64,
    speed: f64,
}

impl Stack {
    /// Starts it for the first time; the programs are built if need be.
    pub async fn start() -> Stack {
        Stack::start_at(SPEED).await
    }

    /// The same with a clock that runs this fast.
    pub async fn start_at(speed: f64) -> Stack {
        Stack::start_of(Path::new(env!("CARGO_BIN_EXE_switchyard")), speed, &[]).await
    }

    /// A stack of the version that this `switchyard` is of, built already.
    pub async fn start_version(program: &Path) -> Stack {
        Stack::start_of(program, SPEED, &["--no-build"]).await
    }

    async fn start_of(program: &Path, speed: f64, further: &[&str]) -> Stack {
        let folder = std::env::temp_dir().join(format!("switchyard-storm-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let epoch_ms = Clock::REAL.now_ms();
        let up = spawn(program, &folder, (epoch_ms, speed), further);
        let mut stack = Stack { up, program: program.to_owned(), folder, epoch_ms, speed };
        stack.until_ready().await;
        stack
    }

    /// Where the running stack says where it is.
    pub fn ready_file(&self) -> PathBuf {
        self.folder.join("asked.json")
    }

    /// Addresses of the running stack.
    pub fn ready(&self) -> Ready {
        Ready::read(&self.ready_file()).unwrap()
    }

    /// The folder of a job's results.
    pub fn chunks_of(&self, job: &str) -> PathBuf {
        self.blobs().join(format!("t/dev/jobs/{job}/out"))
    }

    /// The blob store.
    pub fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// Processes of this name that the stack has now.
    pub fn processes(&self, name: &str) -> Vec<Process> {
        let all = processes::below(self.pid());
        all.into_iter().filter(|process| process.name == name).collect()
    }

    /// Kills the handler, as soon as there is one.
    pub async fn kill_handler(&self) {
        let kill = async || self.processes("handler").first().filter(|handler| handler.kill()).map(|_| ());
        until("a handler to kill", kill).await;
    }

    /// How often the host has ended by itself, because handlers failed.
    pub fn host_ends(&self) -> usize {
        std::fs::read_to_string(self.log()).unwrap().matches(HOST_ENDED).count()
    }

    /// Kills the process in which host, queue, Azure Batch and front run, and starts another. What it left
    /// running is ended by that one.
    pub async fn kill_up(&mut self) {
        let left = processes::below(self.pid());
        self.up.kill().unwrap();
        self.start_again(&left).await;
    }

    /// Kills everything at once, as a power failure does.
    pub async fn kill_all(&mut self) {
        let left = processes::below(self.pid());
        self.up.kill().unwrap();
        for process in &left {
            process.kill();
        }
        self.start_again(&left).await;
    }

    /// The same, and what starts again is of the version that this `switchyard` is of.
    pub async fn kill_all_for(&mut self, program: &Path) {
        self.program = program.to_owned();
        self.kill_all().await;
    }

    async fn start_again(&mut self, left: &[Process]) {
        self.up.wait().unwrap();
        std::fs::remove_file(self.ready_file()).unwrap();
        tokio::time::sleep(RESTART_AFTER).await;
        // The first start has built the programs.
        self.up = spawn(&self.program, &self.folder, (self.epoch_ms, self.speed), &["--no-build"]);
        self.until_ready().await;
        let gone = async || (!left.iter().any(Process::is_alive)).then_some(());
        until("the leftovers of the killed stack to be ended", gone).await;
    }

    async fn until_ready(&mut self) {
        until("the ready file", async || {
            if let Some(status) = self.up.try_wait().unwrap() {
                panic!("the stack ended ({status}): {}", self.last_of_the_log());
            }
            Ready::read(&self.ready_file()).ok().map(drop)
        })
        .await;
    }

    /// Ends it as ctrl-c does; nothing that was ever started is left.
    pub async fn stop(mut self) {
        assert!(processes::send(self.pid(), Signal::INT));
        let status = until("the end", async || self.up.try_wait().unwrap()).await;
        assert!(status.success(), "{status}: {}", self.last_of_the_log());
        let left = async || processes::of_this_test().is_empty().then_some(());
        until("every process to be gone", left).await;
        assert!(!self.ready_file().exists());
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// Runs the same lines through the worker by hand: nothing disturbs it there.
    pub fn compute_by_hand(&self, lines: &[String]) -> Undisturbed {
        let (input, output) = (self.folder.join("input.jsonl"), self.folder.join("undisturbed.jsonl"));
        std::fs::write(&input, lines.join("\n")).unwrap();
        let worker = Path::new(env!("CARGO_BIN_EXE_switchyard")).with_file_name("worker");
        let mut command = Command::new(worker);
        command.arg("--input").arg(input).arg("--output").arg(&output).arg("--model").arg(model());
        let worker = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Undisturbed { worker, output }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("up.log")
    }

    fn last_of_the_log(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn pid(&self) -> i32 {
        self.up.id().try_into().unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let left = processes::below(self.pid());
        let _ = self.up.kill();
        let _ = self.up.wait();
        for process in &left {
            process.kill();
        }
        if std::thread::panicking() {
            eprintln!("state and log are kept: {}\n{}", self.folder.display(), self.last_of_the_log());
        }
    }
}

/// The same work in one process that nobody kills.
pub struct Undisturbed {
    worker: Child,
    output: PathBuf,
}

impl Undisturbed {
    /// Its results, once it is done.
    pub fn results(mut self) -> String {
        let status = self.worker.wait().unwrap();
        assert!(status.success(), "{status}");
        std::fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

fn model() -> PathBuf {
    local::cargo::workspace_root().join("crates/engine/testdata/synthetic-bert")
}

fn spawn(program: &Path, folder: &Path, (epoch_ms, speed): (u64, f64), further: &[&str]) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("up.log")).unwrap();
    Command::new(program)
        .args(["up", "--port", "0", "--cold-start", "0.1", "--boot", BOOT_S, "--model"])
        .arg(model())
        .arg("--state")
        .arg(folder)
        .arg("--ready-file")
        .arg(folder.join("asked.json"))
        .args(further)
        .env(clock::EPOCH_SETTING, epoch_ms.to_string())
        .env(clock::SPEED_SETTING, speed.to_string())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
