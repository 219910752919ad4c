//! Finds where a server may live: a directory its account can reach, a socket path that is not too long.

use anyhow::{Context, Result, bail, ensure};
use std::{
    env, fs, io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, lchown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// `sun_path` holds 108 bytes on Linux and 104 on macOS, the last one a zero.
const SOCKET_PATH: usize = 103;

/// The account that root steps down to, because Postgres refuses root.
#[derive(Clone, Copy)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// None when we are an ordinary user already.
    pub fn to_step_down_to() -> Result<Option<Self>> {
        let id = Command::new("id").arg("-u").output().context("cannot run id -u")?;
        if id.stdout.trim_ascii() != b"0" {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let account = ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &passwd));
        account.map(Some).context("Postgres refuses root, and /etc/passwd has neither postgres nor nobody")
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        // macOS writes nobody's ids as -2.
        let id = |text: &str| text.parse::<u32>().or_else(|_| text.parse().map(i32::cast_unsigned)).ok();
        passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [user, _, uid, gid, ..] = fields[..] else { return None };
            (user == name).then_some(Self { uid: id(uid)?, gid: id(gid)? })
        })
    }

    /// Whoever owns `data` from an earlier start, so that root can serve what a user made.
    pub fn or_owner_of(self, data: &Path) -> Self {
        match fs::metadata(data) {
            Ok(found) if found.uid() != 0 => Self { uid: found.uid(), gid: found.gid() },
            _ => self,
        }
    }

    fn may_enter(self, dir: &Path) -> Result<bool> {
        let mut enter = Command::new("/bin/sh");
        run_as(Some(self), &mut enter).args(["-c", r#"cd "$0""#]).arg(dir).stderr(Stdio::null());
        Ok(enter.status().context("cannot run /bin/sh")?.success())
    }
}

/// Runs `command` as `account`, from a directory that every account may enter.
pub fn run_as(account: Option<Account>, command: &mut Command) -> &mut Command {
    if let Some(Account { uid, gid }) = account {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/")
}

/// Makes `path` private to `account`, or to us.
pub fn make_private(path: &Path, account: Option<Account>) -> io::Result<()> {
    if let Some(Account { uid, gid }) = account {
        lchown(path, Some(uid), Some(gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Makes `dir` and gives its absolute path; one under the temp dir when `account` may not enter `dir`.
pub fn settle(dir: &Path, account: Option<Account>) -> Result<PathBuf> {
    let made = fs::create_dir_all(dir).and_then(|()| fs::canonicalize(dir));
    let dir = made.with_context(|| format!("cannot make {}", dir.display()))?;
    let Some(account) = account else { return Ok(dir) };
    if account.may_enter(&dir)? {
        return Ok(dir);
    }
    let refuge = refuge(&env::temp_dir(), &dir, Some(account))?;
    chown(&refuge, Some(0), Some(0))?;
    fs::set_permissions(&refuge, fs::Permissions::from_mode(0o755))?;
    if !account.may_enter(&refuge)? {
        bail!("user {} may enter neither {} nor {}", account.uid, dir.display(), refuge.display());
    }
    tracing::warn!(
        wanted = %dir.display(), used = %refuge.display(),
        "user {} may not enter the directory wanted for a server, so it lives elsewhere", account.uid,
    );
    Ok(refuge)
}

/// Where a server's socket is: `dir` itself, or a short directory of its own when that is too deep.
pub struct SocketDir {
    pub path: PathBuf,
    refuge: bool,
}

impl SocketDir {
    pub fn find(dir: &Path, socket: &str, account: Option<Account>) -> Result<Self> {
        let refuge = dir.join(socket).as_os_str().len() > SOCKET_PATH;
        if !refuge {
            return Ok(Self { path: dir.to_owned(), refuge });
        }
        let path = self::refuge(Path::new("/tmp"), dir, account)?;
        make_private(&path, account).with_context(|| format!("{} is not ours", path.display()))?;
        Ok(Self { path, refuge })
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        if self.refuge {
            // In vain while a socket is in it, and then the next start uses it again.
            _ = fs::remove_dir(&self.path);
        }
    }
}

/// The same directory under `root` each time for `dir`, and nobody else's: `root` is open to all.
fn refuge(root: &Path, dir: &Path, account: Option<Account>) -> Result<PathBuf> {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = dir.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let path = root.join(format!("insula-{hash:016x}"));
    match fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot make {}", path.display()));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(&path)?;
    let ours = found.is_dir() && account.is_none_or(|account| [0, account.uid].contains(&found.uid()));
    ensure!(ours, "{} is in the way: it is not a directory of ours", path.display());
    Ok(fs::canonicalize(path)?)
}
