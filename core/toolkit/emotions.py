"""Six emotions that most corpora have in common, and their spellings."""

from __future__ import annotations

import unicodedata

SHARED = ("neutral", "happy", "sad", "angry", "fearful", "disgust")

# A spelling that names different emotions in different corpora ("a", "pleasant") is left out.
_SPELLINGS = {
    "neutral": "neutral neu n neutralstate neutrality neutre neutro neutrale ουδέτερο 中性 中立",
    "happy": (
        "happy hap happiness happily joy joyful joyous amusement amused happyness cheerful "
        "freude freudig glücklich glück joie joyeux heureux gioia felice allegria alegria feliz "
        "felicidad felicidade χαρά χαρούμενος 高兴 快乐 开心 喜悦 高興 快樂 開心"
    ),
    "sad": (
        "sad sadness sorrow sorrowful unhappy traurig trauer traurigkeit triste tristesse "
        "tristezza tristeza λύπη θλίψη 悲伤 伤心 难过 悲傷 傷心 難過"
    ),
    "angry": (
        "angry ang anger hotanger coldanger rage furious mad wut wütend ärger aerger ärgerlich "
        "zorn colère rabbia arrabbiato enfado enojo enojado ira raiva θυμός 愤怒 生气 憤怒 生氣"
    ),
    "fearful": (
        "fearful fear fea scared anxiety anxious afraid frightened terrified fearfull angst "
        "ängstlich furcht peur paura miedo medo φόβος 害怕 恐惧 恐懼"
    ),
    "disgust": (
        "disgust dis disgusted disgusting disgustful ekel dégoût disgusto asco nojo αηδία "
        "厌恶 恶心 厭惡"
    ),
}
_OTHERS = (
    "amazed amazement annoyed annoyance bored boredom calm confused confusion contempt content "
    "contemptuous contentment curious depressed desire disappointed disappointment elation "
    "embarrassed embarrassment excited excitement exc frustrated frustration fru guilt interest "
    "interested love pain panic pleasant pleasantsurprise pleasantsurprised pride proud ps relaxed "
    "relief relieved sarcastic serious shame sleepy sleepiness stressed sur surprise surprised "
    "tenderness tired worried langeweile überraschung sorpresa surpresa ennui 惊喜 惊讶 驚訝"
)


def _letters(text: str) -> str:
    """Return the letters of `text` in lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if character.isalpha())


_BY_SPELLING = {
    _letters(word): label for label, words in _SPELLINGS.items() for word in words.split()
}
_OTHER = frozenset(map(_letters, _OTHERS.split()))


def to_shared(text: str) -> str | None:
    """Return the shared emotion that `text` names; None for any other text.

    Case, accents, spaces and punctuation do not matter, so ``"Hot Anger"``, ``"FEAR"`` and
    ``"neutral_state"`` are recognised. The languages are English, German, French, Italian, Spanish,
    Portuguese, Greek and Chinese. Other emotions (calm, surprise, boredom) give None.
    """
    return _BY_SPELLING.get(_letters(text))


def is_emotion(text: str) -> bool:
    """Return True if `text` names a shared emotion or another emotion (calm, surprise, ...)."""
    letters = _letters(text)
    return letters in _BY_SPELLING or letters in _OTHER
