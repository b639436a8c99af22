"""How text becomes words: quotes, escapes, variables, comments, lines."""

from __future__ import annotations

from tests.grub.behaviour import behaviours

TABLE = {
    "blanks and tabs part words": ("p a  b\tc", "3:<a><b><c>\n"),
    "a backslash keeps the next character": (r"p \a\b \" \\ \$x \;", '5:<ab><"><\\><$x><;>\n'),
    "a backslash before a blank joins words": (r"p a\ b", "1:<a b>\n"),
    "a backslash at the end of a line joins the lines": ("p a b\\\nc d", "3:<a><bc><d>\n"),
    "a backslash alone on its line vanishes": ("p a \\\n b", "2:<a><b>\n"),
    "single quotes keep everything": (r"""p 'a $x \ "' """, '1:<a $x \\ ">\n'),
    "single quotes span lines": ("p 'a\nb'", "1:<a\nb>\n"),
    "double quotes know four escapes": (r'p "\$ \\ \" \a \n"', '1:<$ \\ " \\a \\n>\n'),
    "a line that ends in a backslash goes on in double quotes": ('p "a\\\nb"', "1:<ab>\n"),
    "quotes beside each other make one word": ("""p a'b 'c"d "e""", "1:<ab cd e>\n"),
    "empty quotes are a word": ("""p '' "" a""", "3:<><><a>\n"),
    "a brace ends a variable's name": ("v=x; p ${v}y $vy", "1:<xy>\n"),
    "a variable's name is of letters, digits and underscores": ("a_1=x; p $a_1-b", "1:<x-b>\n"),
    "all digits of a parameter count": ("function f { p $10 ${1}0; }\nf 1 2 3 4 5 6 7 8 9 x", "2:<x><10>\n"),
    "a sign is a comment at the start of a word only": ("p a#b 'c' # d\np e", "2:<a#b><c>\n1:<e>\n"),
    "a quoted sign is none": ("p '#' \\# x", "3:<#><#><x>\n"),
    "a comment ends with its line, whatever its end": ("# a \\\np b", "1:<b>\n"),
    "a line that begins with a sign vanishes even in quotes": ("p 'a\n#b\nc'", "1:<a\nc>\n"),
    "carriage returns vanish": ("p a\r\r b'\r'c\r\n", "2:<a><bc>\n"),
    "a dollar that names nothing is an error": ("p 5$\np a", "1:<a>\n"),
    "a dollar in double quotes is no better": ('p "5$"\np "$-"\np a', "1:<a>\n"),
    "a dollar at the end of single quotes is plain": ("p '5$' \\$", "2:<5$><$>\n"),
    "no shell expansions are known": ("p ${v:-x}\np $(echo)\np $$\np a", "1:<a>\n"),
    "an ampersand or bar is an error": ("p a & p b\np a | p b\np a && p b\np c", "1:<c>\n"),
    "signs of redirection are errors": ("p a > b\np a < b\np c", "1:<c>\n"),
    "a semicolon needs no blanks": ("p a;p b", "1:<a>\n1:<b>\n"),
    "two semicolons are an error": ("p a;; p b\np c", "1:<c>\n"),
    "a lone brace is an error": ("p }\np a", "1:<a>\n"),
    "keywords are plain as arguments": ("p if then else fi for in do done while until function", ""
        "11:<if><then><else><fi><for><in><do><done><while><until><function>\n"),
    "double brackets are not": ("p [[\np ]]\np [ ]", "2:<[><]>\n"),
    "a quoted keyword is a command's name": ("'if' a\np b", "1:<b>\n"),
    "a message is text with variables": ('v=x; p $"a $v \\" b"', '1:<a x " b>\n'),
    "names of variables are not only ASCII when assigned": ("é=1; a.b=2; p a", "1:<a>\n"),
    "lines that differ in what is quoted have words of their own": (
        "p 'a' b 'c'\np 'd' b ''\np 'e f' b '$x #'",
        "3:<a><b><c>\n3:<d><b><>\n3:<e f><b><$x #>\n",
    ),
    "so have those with quotes inside of words": (
        "p x'a'y 'b'\np x'c d'y ''\np x'e'y'f' z\np x'g'y'h' z\np x''i'j' z\np x''k'l' z",
        "2:<xay><b>\n2:<xc dy><>\n2:<xeyf><z>\n2:<xgyh><z>\n2:<xij><z>\n2:<xkl><z>\n",
    ),
    "single quotes in double ones are none": (
        """p "a'b" 'c' "d'e"\np "a'b" 'f' "d'e"\np \\' 'g' \\'\n""",
        "3:<a'b><c><d'e>\n3:<a'b><f><d'e>\n3:<'><g><'>\n",
    ),
    "a quote that is closed in another line is part of its word": (
        "p 'a' b'c\nd' e\np 'f' b",
        "3:<a><bc\nd><e>\n2:<f><b>\n",
    ),
    "quotes in a comment are none": (
        "p 'a' # it's\np 'b' # 'c'\np 'd' # 'e'\np 'f'",
        "1:<a>\n1:<b>\n1:<d>\n1:<f>\n",
    ),
    "quotes behind the end of a command belong to the next": (
        "p 'a' b; p 'c' d; p 'e'\np 'f' b; p 'g' d; p 'h'",
        "2:<a><b>\n2:<c><d>\n1:<e>\n2:<f><b>\n2:<g><d>\n1:<h>\n",
    ),
    "other blanks do not part words": ("p a\u00a0b a\vb", "2:<a\u00a0b><a\vb>\n"),
}  # fmt: skip
test_kexec_hook, test_grub_emu, running = behaviours(TABLE)
