//! Starting programs that end with our process, by the kernel, also when that is killed.
//!
//! The kernel signals a child when the *thread* that started it ends (prctl(2),
//! `PR_SET_PDEATHSIG`). So all are started by one thread, which never ends before the process.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use nix::{
    errno::Errno,
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};

/// A program, and who waits for it.
struct Order {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// The thread, once it is there.
static STARTER: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);

/// Starts a program, which ends with our process.
pub(crate) fn start(mut command: Command) -> io::Result<Child> {
    let parent = Pid::this();
    let die_with_it = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Ours may have ended before the kernel was told.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: prctl(2) and getppid(2) are async-signal-safe, and nothing is allocated or locked.
    unsafe {
        command.pre_exec(die_with_it);
    }
    let (reply, started) = mpsc::sync_channel(1);
    let lost = || io::Error::other("the thread that starts programs is gone");
    starter()?.send(Order { command, reply }).map_err(|_| lost())?;
    started.recv().map_err(|_| lost())?
}

fn starter() -> io::Result<mpsc::Sender<Order>> {
    // It is whole after every statement that changes it.
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(starter) = &*starter {
        return Ok(starter.clone());
    }
    let (orders, taken) = mpsc::channel::<Order>();
    thread::Builder::new().name("starter".into()).spawn(move || {
        // The sender is kept for as long as the process lives, and so this goes on.
        for mut order in taken {
            // Nobody may wait for it any more; the child is killed with us all the same.
            let _ = order.reply.send(order.command.spawn());
        }
    })?;
    Ok(starter.insert(orders).clone())
}
