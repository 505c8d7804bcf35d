# SPDX-License-Identifier: Apache-2.0
# Lines of tests/data/arc/cases.jsonl in, "name<TAB>result" of Mail::DKIM out; keys are those of the case.
use strict; use warnings; use JSON::PP; use Net::DNS; use Mail::DKIM::ARC::Verifier;
my %txt;
{ no warnings 'redefine';
  *Mail::DKIM::DNS::query = sub { my ($name) = @_; $name =~ s/\.$//;
      return () unless defined $txt{lc $name};
      return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [ $txt{lc $name} =~ /(.{1,255})/g ]); }; }
while (<STDIN>) {
    my $case = decode_json($_);
    %txt = map { lc($_) => $case->{txt}{$_} } keys %{ $case->{txt} };
    my $message = $case->{message}; utf8::encode($message); $message =~ s/\n/\r\n/g;
    my $result = eval { my $v = Mail::DKIM::ARC::Verifier->new(); $v->PRINT($message); $v->CLOSE; $v->result } // "died\t$@";
    $result =~ s/[\r\n]+/ /g;
    print "$case->{name}\t$result\n";
}
