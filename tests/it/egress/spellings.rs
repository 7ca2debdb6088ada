//! Ways to write down where nothing may be sent, as they stand between `//` and the port.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Every IPv4 address whose spellings are tried: what stands for this machine, its networks, the metadata of clouds.
const V4: [[u8; 4]; 14] = [
    [127, 0, 0, 1],
    [127, 9, 8, 7],
    [0, 0, 0, 0],
    [10, 0, 0, 1],
    [100, 64, 0, 1],
    // Alibaba, Azure, Oracle, and all the others.
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [192, 0, 0, 192],
    [169, 254, 169, 254],
    [172, 16, 0, 1],
    [192, 168, 1, 1],
    [198, 51, 100, 7],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
];

/// The same for IPv6; what holds an IPv4 address holds that of this machine, or of the metadata.
const V6: [&str; 26] = [
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::127.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    // Teredo hides the address of its client by turning all bits around.
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1",
    "2001:2::1",
    "2001:10::1",
    "100::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "0:0:0:1::1",
];

/// Digits and dots that IDNA maps to the usual ones.
const DRESSES: [(&str, &str); 8] = [
    ("\u{ff10}", "."),
    ("\u{1d7ce}", "."),
    ("\u{1d7d8}", "\u{ff0e}"),
    ("\u{1d7e2}", "\u{3002}"),
    ("\u{1d7ec}", "\u{ff61}"),
    ("0", "\u{ff0e}"),
    ("0", "\u{3002}"),
    ("0", "\u{ff61}"),
];

fn of_v4(octets: [u8; 4]) -> Vec<String> {
    let [a, b, c, d] = octets.map(u32::from);
    let whole = u32::from_be_bytes(octets);
    let (last_three, last_two) = (whole & 0xff_ffff, whole & 0xffff);
    let dotted = format!("{a}.{b}.{c}.{d}");
    let mut spellings = vec![
        dotted.clone(),
        format!("{whole}"),
        format!("{whole:#x}"),
        format!("0X{whole:X}"),
        format!("0x{whole:016x}"),
        format!("0{whole:o}"),
        format!("0000{whole:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.000{b:o}.000{c:o}.000{d:o}"),
        format!("{a:#x}.0{b:o}.{c}.{d:#x}"),
        format!("{a}.{last_three}"),
        format!("{a:#x}.{last_three:#x}"),
        format!("{a}.{b}.{last_two}"),
        format!("0{a:o}.{b}.{last_two:#x}"),
        format!("{dotted}."),
        format!("{whole}."),
        format!("{whole:#x}."),
        format!("{a}.{b}.{last_two}."),
        percent(&dotted, |_| true),
        percent(&dotted, |c| c == '.'),
        percent(&format!("{whole}"), |c| c.is_ascii_digit()),
        percent(&percent(&dotted, |c| c == '.'), |c| c == '%'),
        format!("%00{dotted}"),
        format!("{a}\u{ad}.{b}.{c}.{d}"),
        format!("{a}\u{200b}.{b}.{c}.{d}"),
        format!("[{dotted}]"),
    ];
    spellings.extend(DRESSES.map(|(zero, dot)| dressed(&dotted, zero, dot)));
    spellings
}

fn percent(text: &str, which: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if which(c) { format!("%{:02x}", u32::from(c)) } else { c.into() }).collect()
}

/// A text in other digits, of which the first is this, and with another dot.
fn dressed(text: &str, zero: &str, dot: &str) -> String {
    let zero = u32::from(zero.chars().next().unwrap());
    let digit = |c: char| c.to_digit(10).map(|value| char::from_u32(zero + value).unwrap().to_string());
    text.chars().map(|c| digit(c).unwrap_or_else(|| dot.into())).collect()
}

fn of_v6(address: Ipv6Addr) -> Vec<String> {
    let groups = address.segments();
    let hex = |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    let padded = groups.map(|group| format!("{group:04x}")).join(":");
    let [.., e, f] = groups;
    let tail = Ipv4Addr::from((u32::from(e) << 16) | u32::from(f));
    let mut spellings = vec![
        format!("[{address}]"),
        format!("[{}]", hex(&groups)),
        format!("[{padded}]"),
        format!("[{}]", padded.to_uppercase()),
        format!("[{}:{tail}]", hex(&groups[..6])),
        format!("[{address}%25lo]"),
        format!("[{address}%lo]"),
        format!("[{address}]."),
        percent(&format!("[{address}]"), |c| c == ':'),
        percent(&format!("[{address}]"), |_| true),
        format!("{address}"),
    ];
    // The zeros left out at every place where there are any.
    for (at, group) in groups.iter().enumerate() {
        if *group == 0 {
            spellings.push(format!("[{}::{}]", hex(&groups[..at]), hex(&groups[at + 1..])));
        }
    }
    spellings
}

/// Names that lead to this machine, whoever is asked for them.
fn names() -> Vec<String> {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let names =
        ["localhost", "LOCALHOST", "LocalHost.", "localhost..", "a.localhost", "a.b.localhost.", "ip6-localhost"];
    let more = ["loc%61lhost", "\u{24db}ocalhost", "lo\u{ad}calhost", "localhost.localdomain", "localhost%00.example"];
    names.iter().chain(&more).map(|name| (*name).to_owned()).chain([own.clone(), format!("{own}.")]).collect()
}

/// All of them.
pub(super) fn all() -> Vec<String> {
    let v4 = V4.into_iter().flat_map(of_v4);
    let v6 = V6.iter().flat_map(|address| of_v6(address.parse().unwrap()));
    v4.chain(v6).chain(own()).chain(names()).collect()
}

/// The addresses of this machine that lead to the world, if there are any.
fn own() -> Vec<String> {
    let towards = |any: &str, world: &str| {
        let socket = std::net::UdpSocket::bind(any).ok()?;
        socket.connect(world).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let own = [towards("0.0.0.0:0", "8.8.8.8:9"), towards("[::]:0", "[2a00:1450:4001::1]:9")];
    let spelled = own.into_iter().flatten().map(|address| match address {
        std::net::IpAddr::V4(address) => of_v4(address.octets()),
        std::net::IpAddr::V6(address) => of_v6(address),
    });
    spelled.flatten().collect()
}
