//! Invented customers: enters a draw, leaves a name, a number, a company. Nobody here exists.

/// Deterministic draws (SplitMix64): the same seed gives the same demo on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit).expect("less than a usize")
    }

    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Fisher–Yates.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}

const FIRST: [&str; 24] = [
    "Ana", "Bruno", "Camila", "Davi", "Elisa", "Fábio", "Gabriela", "Heitor", "Inês", "João", "Karina", "Lucas", "Maria", "Nélson", "Olívia", "Paulo",
    "Queila", "Rafael", "Sofia", "Tiago", "Úrsula", "Vitória", "Wagner", "Yasmin",
];
const LAST: [&str; 16] = [
    "Almeida", "Barbosa", "Cardoso", "Duarte", "Esteves", "Ferraz", "Gouveia", "Leal", "Macedo", "Nogueira", "Pacheco", "Queiroz", "Rezende", "Siqueira",
    "Teles", "Vasques",
];
const COMPANIES: [&str; 8] = [
    "Padaria Pão da Serra",
    "Mercearia Três Irmãs",
    "Oficina do Gaúcho",
    "Livraria Sabiá",
    "Farmácia Boa Hora",
    "Café Jequitibá",
    "Feira da Lua",
    "Pousada Mar Manso",
];
const BANKS: [&str; 4] = ["Banco Ipê", "Banco Jacarandá", "Cooperativa Arara", "Financeira Tucano"];
const PURPOSES: [&str; 4] = ["entrar no aplicativo", "cadastrar um aparelho", "confirmar um Pix", "trocar a senha"];
/// Area codes, the more peopled ones more often.
const AREAS: [&str; 12] = ["11", "11", "11", "21", "21", "31", "41", "51", "61", "71", "81", "92"];

pub(super) fn name(dice: &mut Dice) -> (&'static str, &'static str) {
    (dice.one(&FIRST), dice.one(&LAST))
}

pub(super) fn counterparty(dice: &mut Dice) -> String {
    if dice.below(3) == 0 {
        return dice.one(&COMPANIES).to_owned();
    }
    let (first, last) = name(dice);
    format!("{first} {last}")
}

pub(super) fn institution(dice: &mut Dice) -> &'static str {
    dice.one(&BANKS)
}

pub(super) fn purpose(dice: &mut Dice) -> &'static str {
    dice.one(&PURPOSES)
}

/// Digits of E.164 of a mobile; `number` makes it unlike every other of the same demo. It is dialled at the simulator only.
pub(super) fn mobile(dice: &mut Dice, number: usize) -> String {
    format!("55{}9{:08}", dice.one(&AREAS), 80_000_000 + (dice.below(1_000) * 1_000 + number) % 10_000_000)
}

/// Six digits, of which not all are alike.
pub(super) fn code(dice: &mut Dice) -> String {
    loop {
        let code = format!("{:06}", dice.below(1_000_000));
        if code.bytes().any(|byte| byte != code.as_bytes()[0]) {
            return code;
        }
    }
}
