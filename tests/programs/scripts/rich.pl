# Perl: hashes, sorting, regular expressions, forks with pipes, eval, local, ties, threads of text.
use strict; use warnings; use POSIX ":sys_wait_h"; use List::Util qw(sum shuffle); use Storable qw(dclone freeze thaw);
$| = 1;
my %h = map { ("key$_" => [$_, { square => $_ * $_, text => "x" x ($_ % 100) }]) } 1 .. 20000;
print sum(map { $_->[1]{square} % 1000 } values %h), "\n";
print join(",", (sort { $h{$b}[0] <=> $h{$a}[0] } keys %h)[0 .. 5]), "\n";
my $text = join " ", map { "word$_ number" . ($_ * 7) } 1 .. 50000;
my $count = () = $text =~ /\bword(\d*[02468])\b/g; print "$count\n";
(my $copy = $text) =~ s/(\w+) (\w+)/$2 $1/g; print length($copy), " ", substr($copy, 1000, 40), "\n";
print join("|", split /(?<=5),\s*/, "15, 25, 3, 45"), "\n";
for my $round (1 .. 16) {                       # a child's changes stay its own
    pipe my $r, my $w or die; my $pid = fork; die unless defined $pid;
    if (!$pid) { close $r; $h{key1}[0] = "spoilt"; delete @h{map { "key$_" } 2 .. 10000}; $text = "";
        print $w "child $round ", scalar(keys %h), " ", length $text; close $w; POSIX::_exit($round) if $round % 2; exit $round }
    close $w; my $got = <$r>; waitpid $pid, 0; print "$got ", $? >> 8, " $h{key1}[0] ", scalar(keys %h), "\n" if $round % 8 < 2;
}
my @kids; for my $n (1 .. 20) { my $pid = fork // die; if (!$pid) { my @a = map { rand } 1 .. 10000 * ($n % 3 + 1); exit @a / 10000 } push @kids, $pid }
print join(" ", map { waitpid $_, 0; $? >> 8 } @kids), "\n";
open my $sort, "-|", "printf '3\\n1\\n2\\n' | sort" or die; print <$sort>; close $sort;
open my $tr, "|-", "tr a-z A-Z" or die; print $tr "piped $_\n" for 1 .. 3; close $tr;
if (open(my $kid, "-|")) { print "from kid: $_" while <$kid>; close $kid } else { print "self open\n"; exit 0 }
print `echo backtick; exit 3`, $? >> 8, "\n"; system "true"; print "system $?\n";
local $SIG{USR1} = sub { print "usr1\n" }; kill USR1 => $$;
local $SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0 }; if (!(my $p = fork)) { exit 0 } else { 1 while kill 0 => $p }
eval { die { code => 42 } }; print "died $@->{code}\n"; eval "1 +* 2"; print "syntax\n" if $@;
my $clone = dclone(\%h); print scalar(keys %$clone), " ", length(freeze([1 .. 1000])) > 1000 ? "frozen" : "no", "\n";
my $s = ""; $s .= chr(65 + $_ % 26) x 100 for 1 .. 20000; print length $s, "\n"; substr($s, 0, 1900000) = ""; print length $s, "\n";
my @m = map { [map { $_ } 1 .. 100] } 1 .. 100; my @t; for my $i (0 .. 99) { $t[$i] = [map { $_->[$i] } @m] } print "$t[99][0]\n";
printf "%s\n", join ",", map { sprintf "%03b", $_ } 0 .. 7; print pack("N*", 1, 2, 3) eq "\0\0\0\1\0\0\0\2\0\0\0\3" ? "pack\n" : "";
print scalar reverse("tac"), ucfirst lc "ABC", "\n"; my @u = do { my %s; grep { !$s{$_}++ } map { $_ % 97 } 1 .. 9999 }; print scalar @u, "\n";
open my $mem, ">", \my $buffer; print $mem "line $_\n" for 1 .. 10000; close $mem; print length $buffer, "\n";
END { print "end\n" if $$ == getppid_guard() } sub getppid_guard { our $main //= $$ } BEGIN { our $main = $$ }
exit 0;
