//! Variables that send the HTTP of other programs to a proxy. The agent itself heeds none.
//!
//! There is no standard; curl's manual ("Environment") has what most programs read.

/// Names the service.
const SERVICE: &str = "169.254.169.254";

/// The names of the variables that lead requests for the service to a proxy: of this process, and
/// of a file of `NAME=value` lines.
pub(super) fn variables(own: impl Iterator<Item = (String, String)>, file: &str) -> Vec<String> {
    let lines = file.lines().filter_map(|line| {
        let (name, value) = line.trim().trim_start_matches("export ").split_once('=')?;
        Some((name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
    });
    let all: Vec<(String, String)> = own.chain(lines).collect();
    let is_spared = all.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("no_proxy") && value.split(',').any(|it| spares(it.trim()))
    });
    let mut names: Vec<String> = all
        .into_iter()
        .filter(|(name, value)| {
            // HTTP_PROXY in capitals is not read by curl, but by Go's programs and Python's.
            let leads = ["http_proxy", "all_proxy"].iter().any(|it| name.eq_ignore_ascii_case(it));
            leads && !value.is_empty()
        })
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names.dedup();
    if is_spared { Vec::new() } else { names }
}

fn spares(entry: &str) -> bool {
    entry == "*"
        || entry == SERVICE
        || entry
            .parse::<ipnetwork::IpNetwork>()
            .is_ok_and(|it| SERVICE.parse().is_ok_and(|service| it.contains(service)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(own: &[(&str, &str)], file: &str) -> Vec<String> {
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        variables(own, file)
    }

    #[test]
    fn a_proxy_is_named_unless_the_service_is_spared() {
        let proxy = ("http_proxy", "http://user:secret@proxy:3128");
        assert_eq!(of(&[proxy], ""), ["http_proxy"]);
        assert_eq!(of(&[], "PATH=/bin\nexport ALL_PROXY=\"socks5://p\"\n"), ["ALL_PROXY"]);
        assert_eq!(of(&[("https_proxy", "http://p"), ("http_proxy", "")], "odd line"), [""; 0]);
        for spared in ["169.254.169.254", "localhost, 169.254.0.0/16", "*"] {
            assert_eq!(of(&[proxy, ("no_proxy", spared)], ""), [""; 0], "{spared}");
            assert_eq!(of(&[proxy], &format!("NO_PROXY='{spared}'")), [""; 0], "{spared}");
        }
        assert_eq!(of(&[proxy, ("no_proxy", "localhost,10.0.0.0/8")], ""), ["http_proxy"]);
    }
}
