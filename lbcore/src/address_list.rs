//! Who may come: address prefixes that are allowed or denied, the longest deciding.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A range of addresses: those whose first bits are these.
///
/// Read from text as `10.0.0.0/8`, `2001:db8::/32`, or a single address. A prefix of IPv4-mapped
/// IPv6 addresses (`::ffff:10.0.0.0/104`) is the IPv4 prefix.
///
/// # Examples
///
/// ```
/// use lbcore::address_list::Prefix;
///
/// let private: Prefix = "10.0.0.0/8".parse()?;
/// assert!(private.contains("10.1.2.3".parse().unwrap()));
/// assert!(private.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!("10.0.0.1/8".parse::<Prefix>().is_err());
/// # Ok::<(), lbcore::address_list::PrefixError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[doc(alias = "CIDR")]
#[doc(alias = "network")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The addresses that share the first `length` bits of `address`.
    ///
    /// # Errors
    ///
    /// [`PrefixError::Length`] above 32 for IPv4 or 128 for IPv6; [`PrefixError::HostBits`] when
    /// `address` has bits beyond `length`, which is a slip more often than a wish.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let most = width(address);
        if u32::from(length) > most {
            return Err(PrefixError::Length { length, most });
        }
        let masked = mask(address, length);
        if masked != address {
            return Err(PrefixError::HostBits {
                address,
                length,
                meant: Self {
                    address: masked,
                    length,
                },
            });
        }
        Ok(match (address.to_canonical(), length.checked_sub(96)) {
            (IpAddr::V4(address), Some(length)) if most == 128 => Self {
                address: address.into(),
                length,
            },
            _ => Self { address, length },
        })
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits are fixed: 0..=32 for IPv4, 0..=128 for IPv6.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether it is one address.
    #[must_use]
    pub const fn is_single(self) -> bool {
        match self.address {
            IpAddr::V4(_) => self.length == 32,
            IpAddr::V6(_) => self.length == 128,
        }
    }

    /// Whether `address` is one of them. An IPv4-mapped IPv6 address is taken as IPv4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address) && mask(address, self.length) == self.address
    }

    /// Its first and last address as numbers.
    fn range(self) -> (u128, u128) {
        let first = number(self.address);
        let host_bits = width(self.address) - u32::from(self.length);
        (
            first,
            first | u128::MAX.checked_shr(128 - host_bits).unwrap_or(0),
        )
    }
}

impl From<IpAddr> for Prefix {
    /// The one address.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            address @ IpAddr::V4(_) => Self {
                address,
                length: 32,
            },
            address @ IpAddr::V6(_) => Self {
                address,
                length: 128,
            },
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let form = || PrefixError::Form(text.into());
        let Some((address, length)) = text.split_once('/') else {
            return text
                .parse()
                .map(|address: IpAddr| address.into())
                .map_err(|_| form());
        };
        let address = address.parse().map_err(|_| form())?;
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        Self::new(address, length.parse().map_err(|_| form())?)
    }
}

/// Why something is not a [`Prefix`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PrefixError {
    /// Not an address, or not an address and a length.
    #[error("`{0}` is not a prefix: expected `IP/LENGTH` or `IP`")]
    Form(Box<str>),
    /// The address has bits that the length leaves out.
    #[error("`{address}/{length}` has bits beyond its length: did you mean `{meant}`?")]
    HostBits {
        /// The address given.
        address: IpAddr,
        /// The length given.
        length: u8,
        /// The prefix without those bits.
        meant: Prefix,
    },
    /// The length is more than the address has bits.
    #[error("prefix length {length} is more than {most}")]
    Length {
        /// The length given.
        length: u8,
        /// The bits of such an address.
        most: u32,
    },
}

/// Which clients may come.
///
/// The longest prefix that contains the client decides, whichever list it is in; when both lists
/// have it, it denies. A client in neither may come if the list of allowed ones is empty. IPv4 and
/// IPv6 are apart: `::/0` says nothing of IPv4 clients.
///
/// Built once, off the path, in O(n log n); at most 8 bytes an IPv4 prefix and 32 an IPv6 one, since
/// nested prefixes are laid flat into ranges that are allowed and denied in turn.
///
/// # Examples
///
/// ```
/// use lbcore::address_list::AddressRules;
///
/// let allow = ["10.0.0.0/8".parse()?];
/// let deny = ["10.66.0.0/16".parse()?];
/// let rules = AddressRules::new(allow, deny);
/// assert!(rules.allows("10.1.2.3".parse().unwrap()));
/// assert!(!rules.allows("10.66.2.3".parse().unwrap()));
/// assert!(!rules.allows("192.0.2.1".parse().unwrap()));
/// # Ok::<(), lbcore::address_list::PrefixError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[doc(alias = "access control list")]
pub struct AddressRules {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl AddressRules {
    /// The rules of these two lists; two empty lists allow everyone.
    #[must_use]
    pub fn new(
        allow: impl IntoIterator<Item = Prefix>,
        deny: impl IntoIterator<Item = Prefix>,
    ) -> Self {
        let mut rules: Vec<Rule> = allow
            .into_iter()
            .map(|prefix| Rule::new(prefix, true))
            .collect();
        let otherwise = rules.is_empty();
        rules.extend(deny.into_iter().map(|prefix| Rule::new(prefix, false)));
        // Wide before narrow where they begin alike, and of two equal ones the denial last, so
        // that it overrules.
        let order = |rule: &Rule| (rule.first, Reverse(rule.last), Reverse(rule.allow));
        rules.sort_unstable_by_key(order);
        let (v4, v6): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(|rule| rule.v4);
        Self {
            v4: Ranges::new(&v4, u32::MAX.into(), otherwise).narrow(),
            v6: Ranges::new(&v6, u128::MAX, otherwise),
        }
    }

    /// Whether a client of this address may come.
    ///
    /// An IPv4-mapped IPv6 address is taken as IPv4. Cost: one binary search, O(log n); allocates
    /// nothing.
    #[must_use]
    pub fn allows(&self, client: IpAddr) -> bool {
        match client.to_canonical() {
            IpAddr::V4(address) => self.v4.allows(address.to_bits()),
            IpAddr::V6(address) => self.v6.allows(address.to_bits()),
        }
    }

    /// Bytes of memory that the ranges take.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of_val(&*self.v4.changes) + size_of_val(&*self.v6.changes)
    }
}

impl Default for AddressRules {
    /// Allows everyone.
    fn default() -> Self {
        Self::new([], [])
    }
}

/// One line of a list, as numbers.
#[derive(Clone, Copy)]
struct Rule {
    first: u128,
    last: u128,
    v4: bool,
    allow: bool,
}

impl Rule {
    fn new(prefix: Prefix, allow: bool) -> Self {
        let (first, last) = prefix.range();
        Self {
            first,
            last,
            v4: prefix.address.is_ipv4(),
            allow,
        }
    }
}

/// All addresses of a family, cut where the answer changes.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Ranges<N> {
    /// The answer below the first change.
    first: bool,
    /// Each the first address of a new answer, rising.
    changes: Box<[N]>,
}

impl<N: Copy + Ord> Ranges<N> {
    fn allows(&self, address: N) -> bool {
        let passed = self.changes.partition_point(|change| *change <= address);
        self.first ^ (passed % 2 == 1)
    }
}

impl Ranges<u128> {
    /// Lays `rules` flat. They are sorted by where they begin, the wider first, and nest, as
    /// prefixes do.
    fn new(rules: &[Rule], end: u128, otherwise: bool) -> Self {
        let mut cuts = Cuts {
            first: otherwise,
            now: otherwise,
            changes: Vec::new(),
        };
        let mut open: Vec<Rule> = Vec::new();
        for rule in rules {
            close(&mut open, &mut cuts, otherwise, end, |last| {
                last < rule.first
            });
            cuts.set(rule.first, rule.allow);
            open.push(*rule);
        }
        close(&mut open, &mut cuts, otherwise, end, |_| true);
        Self {
            first: cuts.first,
            changes: cuts.changes.into(),
        }
    }

    fn narrow(self) -> Ranges<u32> {
        let narrow = |change: &u128| u32::try_from(*change).unwrap_or(u32::MAX);
        Ranges {
            first: self.first,
            changes: self.changes.iter().map(narrow).collect(),
        }
    }
}

/// Ends the innermost rules whose last address is `over`: the rule around each goes on.
fn close(
    open: &mut Vec<Rule>,
    cuts: &mut Cuts,
    otherwise: bool,
    end: u128,
    over: impl Fn(u128) -> bool,
) {
    while let Some(rule) = open.pop_if(|rule| over(rule.last)) {
        let around = open.last().map_or(otherwise, |rule| rule.allow);
        if rule.last < end {
            cuts.set(rule.last + 1, around);
        }
    }
}

/// Where the answer changes, so far.
struct Cuts {
    first: bool,
    now: bool,
    changes: Vec<u128>,
}

impl Cuts {
    /// The answer from `at` on, which is no lower than any told before.
    fn set(&mut self, at: u128, allow: bool) {
        if allow == self.now {
            return;
        }
        self.now = allow;
        if at == 0 {
            self.first = allow;
        } else if self.changes.pop_if(|last| *last == at).is_none() {
            self.changes.push(at);
        }
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// `address` with all but its first `length` bits zero.
fn mask(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(address) => {
            let keep = u32::MAX
                .checked_shl(32_u32.saturating_sub(length))
                .unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & keep).into()
        }
        IpAddr::V6(address) => {
            let keep = u128::MAX
                .checked_shl(128_u32.saturating_sub(length))
                .unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & keep).into()
        }
    }
}
