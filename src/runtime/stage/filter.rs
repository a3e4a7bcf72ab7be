//! The system calls that code of strangers has no use for, and what the kernel says to whoever tries.
//!
//! What makes namespaces, mounts or devices, looks into other processes, loads into the kernel or sets the machine's
//! clock is refused, and so is whatever would do the same by another way: other processors' calls, io_uring, BPF, and
//! calls that kernels learnt after this was written. The rest is allowed, because functions are any program.

use std::io;

use super::order::Means;

/// As `EPERM`: it may not.
const NOT_PERMITTED: u32 = libc::EPERM as u32;
/// As `ENOSYS`: there is no such call, so that C libraries take the older one.
const NOT_KNOWN: u32 = libc::ENOSYS as u32;

/// Where fields of `seccomp_data` are; the low half of each argument, both processors being little-endian.
const NUMBER_AT: u32 = 0;
const PROCESSOR_AT: u32 = 4;
const fn argument_at(index: u32) -> u32 {
    16 + 8 * index
}

#[cfg(target_arch = "x86_64")]
const PROCESSOR: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const PROCESSOR: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PROCESSOR: Option<u32> = None;

/// From here on calls are newer than this filter, which cannot know what they do: `open_tree_attr` is the first of them.
/// Beyond them lie x32's, on the processor that has it.
const NEWER: u32 = 467;
/// What `clone` makes namespaces by.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// Puts a character into a terminal's input, and what the console does beside.
const TERMINAL_TRICKS: [u32; 2] = [0x5412, 0x541c];
/// The networks of a machine that functions are on: IPv4, IPv6, what addresses are asked of, and Unix.
const FAMILIES: [libc::c_int; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_UNIX];
/// The same for whoever is the daemon's user to everybody on the machine's network: of Unix's sockets some are no files,
/// so that no view hides them, and whoever listens there takes it for the daemon's user. Pairs of them are left.
const FAMILIES_OF_SAME_USER: [libc::c_int; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

const REFUSED: &[libc::c_long] = &[
    // Namespaces, mounts, roots.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Into the kernel, and around this filter.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Filters this thread's system calls from now on; what it runs keeps the filter.
pub(super) fn apply(means: Means) -> io::Result<()> {
    let Some(processor) = PROCESSOR else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut program = program(processor, means);
    let length = program.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the program and what it points to live through the call, which copies both.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn program(processor: u32, means: Means) -> Vec<libc::sock_filter> {
    let mut code = Code(Vec::new());
    code.load(PROCESSOR_AT);
    code.unless_equal(processor, NOT_KNOWN);
    code.load(NUMBER_AT);
    code.if_at_least(NEWER, NOT_KNOWN);
    for number in REFUSED {
        code.if_equal(number_of(*number), NOT_PERMITTED);
    }
    // Its flags are in memory, where a filter cannot look.
    code.if_equal(number_of(libc::SYS_clone3), NOT_KNOWN);
    code.of_call(libc::SYS_clone, |code| {
        code.load(argument_at(0));
        code.if_any(NAMESPACES.cast_unsigned(), NOT_PERMITTED);
    });
    code.of_call(libc::SYS_socket, |code| {
        code.load(argument_at(0));
        let is_same_user = means.users && !means.network;
        let families: &[libc::c_int] = if is_same_user { &FAMILIES_OF_SAME_USER } else { &FAMILIES };
        code.unless_among(families, libc::EAFNOSUPPORT as u32);
    });
    code.of_call(libc::SYS_ioctl, |code| {
        code.load(argument_at(1));
        TERMINAL_TRICKS.iter().for_each(|trick| code.if_equal(*trick, NOT_PERMITTED));
    });
    if !means.shares_ports {
        code.of_call(libc::SYS_setsockopt, |code| {
            code.load(argument_at(2));
            code.when_equal(libc::SO_REUSEPORT.cast_unsigned(), |code| {
                code.load(argument_at(1));
                code.if_equal(libc::SOL_SOCKET.cast_unsigned(), NOT_PERMITTED);
            });
        });
    }
    code.answer(libc::SECCOMP_RET_ALLOW);
    code.0
}

fn number_of(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("numbers of calls are small")
}

/// A program of classic BPF in the making.
struct Code(Vec<libc::sock_filter>);

impl Code {
    fn say(&mut self, code: u32, jumps: (u8, u8), k: u32) {
        let code = u16::try_from(code).expect("classic BPF's codes have 16 bits");
        self.0.push(libc::sock_filter { code, jt: jumps.0, jf: jumps.1, k });
    }

    fn load(&mut self, at: u32) {
        self.say(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), at);
    }

    fn answer(&mut self, action: u32) {
        self.say(libc::BPF_RET | libc::BPF_K, (0, 0), action);
    }

    fn refuse(&mut self, errno: u32) {
        self.answer(libc::SECCOMP_RET_ERRNO | errno);
    }

    fn if_equal(&mut self, value: u32, errno: u32) {
        self.say(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), value);
        self.refuse(errno);
    }

    fn unless_equal(&mut self, value: u32, errno: u32) {
        self.say(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (1, 0), value);
        self.refuse(errno);
    }

    fn unless_among(&mut self, values: &[libc::c_int], errno: u32) {
        for (index, value) in values.iter().enumerate() {
            let beyond = u8::try_from(values.len() - index).expect("few values");
            self.say(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (beyond, 0), value.cast_unsigned());
        }
        self.refuse(errno);
    }

    fn if_at_least(&mut self, value: u32, errno: u32) {
        self.say(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, (0, 1), value);
        self.refuse(errno);
    }

    fn if_any(&mut self, bits: u32, errno: u32) {
        self.say(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, (0, 1), bits);
        self.refuse(errno);
    }

    /// Code that is passed over unless what was loaded equals a value.
    fn when_equal(&mut self, value: u32, write: impl FnOnce(&mut Code)) {
        let mut within = Code(Vec::new());
        write(&mut within);
        let length = u8::try_from(within.0.len()).expect("short pieces");
        self.say(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, length), value);
        self.0.append(&mut within.0);
    }

    /// Code for one system call; its number is what is loaded before and after.
    fn of_call(&mut self, call: libc::c_long, write: impl FnOnce(&mut Code)) {
        self.when_equal(number_of(call), |code| {
            write(code);
            code.load(NUMBER_AT);
        });
    }
}
