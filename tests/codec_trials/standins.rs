//! The stand-ins of boards' codec elements, and boards' files with device nodes that are there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use portico::media::board::{Board, Candidate};
use portico::media::probe::child::{Runner, SUBCOMMAND};
use portico::media::probe::{Trial, Verdict};

/// What is needed to play a board.
pub struct StandIns {
    folder: PathBuf,
}

/// Made once: GStreamer reads the plugin and writes its registry.
pub fn standins() -> &'static StandIns {
    static ONCE: OnceLock<StandIns> = OnceLock::new();
    ONCE.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_portico"));
        let plugin = program.with_file_name("examples").join("libstandins.so");
        assert!(plugin.exists(), "{} is missing: run `cargo build --example standins`, as `cargo test` does", plugin.display());
        // of this build: one folder for all runs, so that nothing piles up
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("standins");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("plugins")).unwrap();
        std::fs::create_dir_all(folder.join("boards")).unwrap();
        std::os::unix::fs::symlink(plugin, folder.join("plugins/libstandins.so")).unwrap();
        let standins = StandIns { folder };
        standins.write_boards();
        let output = standins.portico("", &standins.folder).args(["doctor", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        standins
    })
}

impl StandIns {
    /// Copies of the board files whose device nodes are files of this folder.
    fn write_boards(&self) {
        let dev = self.folder.join("dev");
        let quoted = format!("\"{}/", dev.display());
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/boards")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap().replace("\"/dev/", &quoted);
            for node in text.split(&quoted).skip(1) {
                let node = dev.join(node.split('"').next().unwrap());
                std::fs::create_dir_all(node.parent().unwrap()).unwrap();
                std::fs::write(node, "").unwrap();
            }
            std::fs::write(self.boards().join(path.file_name().unwrap()), text).unwrap();
        }
    }

    /// The folder of board files.
    pub fn boards(&self) -> PathBuf {
        self.folder.join("boards")
    }

    /// A board by name.
    pub fn board(&self, name: &str) -> Board {
        let boards = Board::all(&self.boards()).unwrap();
        boards.into_iter().find(|board| board.name == name).unwrap_or_else(|| panic!("no board {name}"))
    }

    /// What a program needs to find them.
    pub fn environment(&self, quirks: &str) -> [(&'static str, String); 3] {
        [
            ("GST_PLUGIN_PATH", self.folder.join("plugins").display().to_string()),
            ("GST_REGISTRY", self.folder.join("registry.bin").display().to_string()),
            ("PORTICO_STANDIN_QUIRKS", quirks.to_owned()),
        ]
    }

    /// The program with stand-ins that have quirks, and a state directory.
    pub fn portico(&self, quirks: &str, state: &Path) -> Command {
        let mut command = crate::portico(state);
        command.envs(self.environment(quirks));
        command
    }

    /// Tries a candidate in a real child process.
    pub fn verdict(&self, quirks: &str, candidate: Candidate<'_>, board: &Board, deadline: Duration) -> Verdict {
        let trial = match candidate {
            // this process has no stand-ins to find a converter among
            Candidate::Encoder(it) => Trial::Encoder {
                candidate: Box::new(it.clone()),
                convert: it.convert.clone().unwrap_or_else(|| board.convert[0].clone()),
                size: None,
            },
            other => Trial::of(other, board).unwrap(),
        };
        let mut arguments: Vec<String> = self.environment(quirks).iter().map(|(name, value)| format!("{name}={value}")).collect();
        arguments.extend([env!("CARGO_BIN_EXE_portico").to_owned(), SUBCOMMAND.to_owned()]);
        let runner = Runner { program: "/usr/bin/env".into(), arguments, deadline };
        Verdict::of(trial.role(), &runner.run(&trial, &|| false)).unwrap()
    }
}
