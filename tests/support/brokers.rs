//! Real brokers on free ports of loopback, each with a folder of its own. No service of the system is touched.
#![allow(dead_code)] // each test file uses a part of it

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

/// A port of loopback that nobody uses now. Not one of those that outgoing connections get: while a broker is away, who looks for it
/// there could meet another program, or itself.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| 10_000 + rand::random::<u16>() % 20_000).take(1000).find(free).expect("a free port")
}

/// Waits until somebody listens there, as long as the process lives.
fn wait_for(port: u16, child: &mut Child, what: &str, log: &Path) {
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let gone = child.try_wait().expect("a child");
        if gone.is_some() || Instant::now() > end {
            panic!("{what} does not listen ({gone:?}):\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Certificates of a small authority: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
pub fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose as For, IsCa, KeyPair};
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    // Erlang takes a certificate whose issuer has the same name for a self-signed one
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("it is written");
    write("ca.pem", &authority.pem());
    for (name, usage) in [("server", For::ServerAuth), ("client", For::ClientAuth)] {
        let own = key();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(usage);
        let certificate = params.signed_by(&own, &authority).expect("signed");
        write(&format!("{name}.pem"), &certificate.pem());
        write(&format!("{name}.key"), &own.serialize_pem());
    }
}

/// Its name among Erlang's nodes.
const NODE: &str = "portico@localhost";

/// A RabbitMQ. Its data outlives [`Self::kill`]; everything ends with it.
pub struct Rabbit {
    /// AMQP, plain; user `guest` with password `guest`, who may everything, and `portico` with `hush`, who may use `live_events`.
    pub port: u16,
    /// AMQP with TLS; asks for a client certificate of the same authority.
    pub tls_port: u16,
    dir: tempfile::TempDir,
    distribution_port: u16,
    /// Erlang's port mapper, one for this broker alone.
    mapper: Child,
    mapper_port: u16,
    server: Option<Child>,
}

impl Rabbit {
    /// Starts one.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        certificates(dir.path());
        let (port, tls_port, distribution_port, mapper_port) = (free_port(), free_port(), free_port(), free_port());
        let folder = dir.path().display();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {folder}/ca.pem\nssl_options.certfile = {folder}/server.pem\n\
             ssl_options.keyfile = {folder}/server.key\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\nload_definitions = {folder}/definitions.json\nlog.console = true\nlog.file = false\n"
        );
        fs::write(dir.path().join("rabbitmq.conf"), config).expect("it is written");
        // the rights of docs/guide/events.md
        let definitions = serde_json::json!({
            "vhosts": [{"name": "/"}],
            "users": [{"name": "guest", "password": "guest", "tags": "administrator"}, {"name": "portico", "password": "hush", "tags": ""}],
            "permissions": [
                {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
                {"user": "portico", "vhost": "/", "configure": "^live_events$", "write": "^live_events$", "read": "^live_events$"},
            ],
        });
        fs::write(dir.path().join("definitions.json"), definitions.to_string()).expect("it is written");
        fs::write(dir.path().join("password"), "hush\n").expect("it is written");
        let mapper = Command::new("epmd")
            .args(["-port", &mapper_port.to_string(), "-address", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd starts (run make test)");
        let mut rabbit = Self { port, tls_port, dir, distribution_port, mapper, mapper_port, server: None };
        wait_for(mapper_port, &mut rabbit.mapper, "epmd", Path::new("/dev/null"));
        rabbit.start_again();
        rabbit
    }

    /// The folder with the certificates.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it on the data it had.
    pub fn start_again(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        let log = at("log.txt");
        let _ = fs::remove_file(at("pid"));
        let out = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let mut server = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        self.settings(&mut server);
        let server = server
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a log"))
            .stderr(out)
            .spawn()
            .expect("rabbitmq-server starts (run make test)");
        wait_for(self.port, self.server.insert(server), "RabbitMQ", &log);
    }

    /// Has it write down which queues, exchanges and bindings there are. Messages are on disk when they are confirmed, these up to
    /// seconds later (Erlang's disk_log).
    pub fn write_down(&self) {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        self.settings(&mut command);
        let done = command.args(["-n", NODE, "eval", "mnesia:sync_log()."]).stdin(Stdio::null()).output();
        let done = done.expect("rabbitmqctl starts (run make test)");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("ok"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    }

    /// What its programs go by.
    fn settings(&self, command: &mut Command) {
        let at = |name: &str| self.dir.path().join(name);
        command
            .env("HOME", self.dir.path())
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", NODE)
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env_remove("NOTIFY_SOCKET");
    }

    /// SIGKILL: no goodbye, no tidy end.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.dir.path().join("pid")).unwrap_or_default();
        // it writes its process id before it listens
        if let Ok(pid) = pid.trim().parse::<u32>() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        if let Some(mut server) = self.server.take() {
            if pid.trim().is_empty() {
                let _ = server.kill();
            }
            let _ = server.wait();
        }
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill();
        let _ = self.mapper.kill();
        let _ = self.mapper.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log.txt")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("--- the end of RabbitMQ's log\n{}\n---", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A mosquitto with a user `portico`, password `hush`, and nobody else.
pub struct Mosquitto {
    /// MQTT, plain.
    pub port: u16,
    /// MQTT with TLS; asks for a client certificate of the same authority.
    pub tls_port: u16,
    dir: tempfile::TempDir,
    server: Option<Child>,
}

impl Mosquitto {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with("", |_| {})
    }

    /// The same with more configuration, in which `{folder}` is its folder, and what else is to be there.
    pub fn start_with(more: &str, prepare: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        certificates(dir.path());
        prepare(dir.path());
        let (port, tls_port) = (free_port(), free_port());
        let passwords = dir.path().join("passwords");
        fs::write(&passwords, "portico:hush\n").expect("it is written");
        let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status();
        assert!(hashed.expect("mosquitto_passwd runs (run make test)").success());
        // as root it would become `mosquitto`, who may not look into this folder
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "root".into());
        let folder = dir.path().display();
        let config = format!(
            "listener {port} 127.0.0.1\nlistener {tls_port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {folder}/server.pem\n\
             keyfile {folder}/server.key\nrequire_certificate true\nallow_anonymous false\npassword_file {}\nuser {user}\npersistence true\n\
             persistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\n{}",
            passwords.display(),
            more.replace("{folder}", &folder.to_string())
        );
        fs::write(dir.path().join("mosquitto.conf"), config).expect("it is written");
        let mut mosquitto = Self { port, tls_port, dir, server: None };
        mosquitto.start_again();
        mosquitto
    }

    /// The folder with the certificates.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it on the data it had.
    pub fn start_again(&mut self) {
        let log = self.dir.path().join("log.txt");
        let out = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let server = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a log"))
            .stderr(out)
            .spawn()
            .expect("mosquitto starts (run make test)");
        wait_for(self.port, self.server.insert(server), "mosquitto", &log);
    }

    /// Ends it as a service manager does: it writes down what it keeps for its clients.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
            let _ = server.wait();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- mosquitto's log\n{}\n---", fs::read_to_string(self.dir.path().join("log.txt")).unwrap_or_default());
        }
    }
}
