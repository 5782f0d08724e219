"""Reference tokenizers over the vocabulary of a GGUF file. No BOS is added by any of them.

Valid UTF-8 goes through the libraries tokenizers (byte-level BPE) and sentencepiece (SPM). Lines with broken UTF-8,
which those libraries don't take, go through the plain implementations below, which the libraries check on valid lines.

Broken UTF-8: a byte where no well-formed sequence (Unicode, table 3-7) starts is one invalid unit, and decoding goes on at the next
byte. An invalid unit is not a letter, number, space or punctuation mark; its byte is kept as it is.
"""
import re
import unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def byte_letters():
    """GPT-2's map of bytes to printable characters."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return [table[b] for b in range(256)]


BYTE_LETTERS = byte_letters()


def units_of(data):
    """(bytes, character) of each unit; the character of an invalid byte is None."""
    out, i = [], 0
    while i < len(data):
        for n in (1, 2, 3, 4):
            try:
                out.append((data[i:i + n], data[i:i + n].decode("utf-8")))
                break
            except UnicodeDecodeError:
                continue
        else:
            n = 1
            out.append((data[i:i + 1], None))
        i += n
    return out


def kind_of(char):
    """L, N, S (white space) or O."""
    if char is None:
        return "O"
    if ord(char) in WHITE_SPACE:
        return "S"
    first = unicodedata.category(char)[0]
    return first if first in "LN" else "O"


def is_punctuation(char):
    return char is not None and (unicodedata.category(char)[0] == "P" or char in "$+<=>^~|")


def split_gpt2(units):
    """The GPT-2 expression over units, by hand."""
    out, i, n = [], 0, len(units)
    kinds = [kind_of(c) for _, c in units]

    def run(start, same):
        while start < n and same(kinds[start]):
            start += 1
        return start

    while i < n:
        text = "".join(c or "\0" for _, c in units[i:i + 3])
        short = next((c for c in CONTRACTIONS if text.startswith(c)), None)
        start = i + 1 if text[0] == " " and i + 1 < n and kinds[i + 1] != "S" else i
        if short:
            end = i + len(short)
        elif kinds[start] != "S":
            end = run(start, lambda k, want=kinds[start]: k == want)
        else:
            end = run(i, lambda k: k == "S")
            if end < n and end - i > 1:
                end -= 1
        out.append(units[i:end])
        i = end
    return out


def split_where(pieces, inside, single):
    """Cuts each piece at the edges of runs of units for which inside(character); single: every such unit stands alone."""
    out = []
    for piece in pieces:
        start = 0
        for i in range(1, len(piece) + 1):
            if i == len(piece):
                cut = True
            else:
                a, b = inside(piece[i - 1][1]), inside(piece[i][1])
                cut = a != b or (single and b)
            if cut:
                out.append(piece[start:i])
                start = i
    return out


def is_number(char):
    return kind_of(char) == "N"


def split_smollm(units):
    return [p for piece in split_where([units], is_number, True) for p in split_gpt2(piece)]


def split_default(units):
    """llama.cpp's default: punctuation runs, then GPT-2, then runs of numbers, then three ASCII digits from the left."""
    pieces = split_where([units], is_punctuation, False)
    pieces = [p for piece in pieces for p in split_gpt2(piece)]
    out = []
    for piece in split_where(pieces, is_number, False):
        i = start = 0
        while i + 3 <= len(piece):
            if all(c is not None and c in "0123456789" for _, c in piece[i:i + 3]):
                if i > start:
                    out.append(piece[start:i])
                out.append(piece[i:i + 3])
                i = start = i + 3
            else:
                i += 1
        if start < len(piece):
            out.append(piece[start:])
    return out


SPLITS = {"smollm": split_smollm, "gpt-2": split_gpt2, "default": split_default}


def library_split(pre):
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if pre == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre == "default":
        steps = [PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]
        return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(s), "isolated") for s in steps), plain])
    raise ValueError(f"pre-tokenizer {pre}")


class Vocabulary:
    """Tokens and types of a GGUF file, and the splitting of text at special tokens, the longest first."""

    def __init__(self, g):
        self.tokens = g.value("tokenizer.ggml.tokens")
        self.types = g.value("tokenizer.ggml.token_type")
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.expressions = {}
        for special in (False, True):
            kinds = (CONTROL, UNKNOWN, USER_DEFINED) if special else (USER_DEFINED,)
            names = sorted((t.encode() for t, k in zip(self.tokens, self.types) if k in kinds), key=lambda t: (-len(t), t))
            self.expressions[special] = re.compile(b"|".join(map(re.escape, names))) if names else None

    def fragments(self, data, special):
        """(True, id) of special tokens and (False, bytes) of the text between them."""
        at, expression = 0, self.expressions[special]
        for m in expression.finditer(data) if expression else ():
            if m.start() > at:
                yield False, data[at:m.start()]
            yield True, self.ids[m.group().decode()]
            at = m.end()
        if at < len(data):
            yield False, data[at:]


class Bpe:
    """Byte-level BPE: the library tokenizers for valid text, the plain implementation for all."""

    def __init__(self, g, pre=None):
        self.vocabulary = Vocabulary(g)
        self.pre = pre or g.value("tokenizer.ggml.pre")
        merges = [tuple(m.split(" ", 1)) for m in g.value("tokenizer.ggml.merges")]
        self.ranks = {m: i for i, m in enumerate(merges)}
        self.split = SPLITS[self.pre]
        self.library = Tokenizer(models.BPE(vocab=self.vocabulary.ids, merges=merges, fuse_unk=False))
        self.library.pre_tokenizer = library_split(self.pre)
        self.library.decoder = decoders.ByteLevel()
        self.library_special = Tokenizer.from_str(self.library.to_str())
        self.library_special.add_special_tokens([
            AddedToken(t, special=True, normalized=False)
            for t, k in zip(self.vocabulary.tokens, self.vocabulary.types) if k == CONTROL])

    def by_library(self, data, special):
        library = self.library_special if special else self.library
        return library.encode(data.decode("utf-8"), add_special_tokens=False).ids

    def plain(self, data, special):
        out = []
        for is_token, part in self.vocabulary.fragments(data, special):
            if is_token:
                out.append(part)
                continue
            for piece in self.split(units_of(part)):
                out.extend(self.merge(b"".join(b for b, _ in piece)))
        return out

    def merge(self, data):
        symbols = [BYTE_LETTERS[b] for b in data]
        while True:
            ranked = [(self.ranks[p], i) for i, p in enumerate(zip(symbols, symbols[1:])) if p in self.ranks]
            if not ranked:
                break
            _, i = min(ranked)
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        return [self.vocabulary.ids[s] for s in symbols if s in self.vocabulary.ids]


class Spm:
    """SPM (BPE by scores, byte fallback): the library sentencepiece for valid text, the plain implementation for all."""

    def __init__(self, g):
        self.vocabulary = Vocabulary(g)
        self.scores = g.value("tokenizer.ggml.scores")
        self.space_prefix = g.value("tokenizer.ggml.add_space_prefix", True)
        if self.space_prefix:
            raise ValueError(f"{g.path}: a space prefix is not supported here")
        kinds, tokens = self.vocabulary.types, self.vocabulary.tokens
        self.mergeable = {t: i for i, (t, k) in enumerate(zip(tokens, kinds)) if k == NORMAL}
        self.byte_ids = [self.vocabulary.ids[f"<0x{b:02X}>"] for b in range(256)]
        self.library = sentencepiece.SentencePieceProcessor(model_proto=self.model_proto(g))

    def model_proto(self, g):
        m = proto.ModelProto()
        unknown = g.value("tokenizer.ggml.unknown_token_id")
        for i, (token, score, kind) in enumerate(zip(self.vocabulary.tokens, self.scores, self.vocabulary.types)):
            if kind == USER_DEFINED:
                token = token.replace(" ", "\u2581")
            m.pieces.add(piece=token, score=score, type=UNKNOWN if i == unknown else kind)
        m.trainer_spec.model_type = proto.TrainerSpec.BPE
        m.trainer_spec.byte_fallback = True
        m.trainer_spec.vocab_size = len(m.pieces)
        m.trainer_spec.unk_id, m.trainer_spec.unk_piece = unknown, self.vocabulary.tokens[unknown]
        m.normalizer_spec.name = "identity"
        m.normalizer_spec.add_dummy_prefix = False
        m.normalizer_spec.remove_extra_whitespaces = False
        m.normalizer_spec.escape_whitespaces = True
        return m.SerializeToString()

    def by_library(self, data, special):
        if not special:
            return self.library.encode(data.decode("utf-8"))
        out = []
        for is_token, part in self.control_fragments(data):
            out.extend([part] if is_token else self.library.encode(part.decode("utf-8")))
        return out

    def control_fragments(self, data):
        """Fragments at control tokens alone: the library finds the user-defined ones itself."""
        text = b""
        for is_token, part in self.vocabulary.fragments(data, True):
            if is_token and self.vocabulary.types[part] != USER_DEFINED:
                if text:
                    yield False, text
                yield True, part
                text = b""
            else:
                text += self.vocabulary.tokens[part].encode() if is_token else part
        if text:
            yield False, text

    def plain(self, data, special):
        out = []
        for is_token, part in self.vocabulary.fragments(data, special):
            out.extend([part] if is_token else self.merge(part))
        return out

    def merge(self, data):
        symbols = []
        for raw, char in units_of(data):
            symbols.append(raw if char is None else "\u2581" if char == " " else char)
        while True:
            ranked = []
            for i, (a, b) in enumerate(zip(symbols, symbols[1:])):
                token = self.mergeable.get(a + b) if isinstance(a, str) and isinstance(b, str) else None
                if token is not None:
                    ranked.append((-self.scores[token], i))
            if not ranked:
                break
            _, i = min(ranked)
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        out = []
        for s in symbols:
            token = self.mergeable.get(s) if isinstance(s, str) else None
            if token is None:
                raw = s if isinstance(s, bytes) else s.encode()
                out.extend(self.byte_ids[b] for b in raw)
            else:
                out.append(token)
        return out


def tokenizer_of(g, pre=None):
    model = g.value("tokenizer.ggml.model")
    if model == "gpt2":
        return Bpe(g, pre)
    if model == "llama":
        return Spm(g)
    raise ValueError(f"{g.path}: tokenizer.ggml.model is {model}")
