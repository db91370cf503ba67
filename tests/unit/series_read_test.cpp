// Reading series: layouts, clocks, grids, and what is wrong with a file.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/base/error.h"
#include "subquad/base/rng.h"
#include "subquad/data/series/series.h"
#include "subquad/io/csv.h"

namespace subquad {
namespace {

SeriesFile parse(const std::string& text, const ReadSetup& setup = {}) {
  return parse_series(text, "test.csv", setup);
}

// "1 2 - 4": the values, missing ones as a dash.
std::string values_of(const TimeSeries& s) {
  std::string out;
  for (const double v : s.values)
    out += (out.empty() ? "" : " ") + (std::isnan(v) ? "-" : csv_number(v));
  return out;
}

std::string error_of(const std::string& text, const ReadSetup& setup = {}) {
  try {
    parse(text, setup);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

void expect_says(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "wanted \"" << part << "\" in: " << text;
}

TEST(Csv, QuotesLineEndsAndDelimiters) {
  CsvReader csv("\xef\xbb\xbf\r\na;\"b;\"\"c\"\"\n2\";\r\n\n\"\";x", "t");
  ASSERT_TRUE(csv.next());
  EXPECT_EQ(csv.delimiter(), ';');
  EXPECT_EQ(csv.line(), 2);
  ASSERT_EQ(csv.cells().size(), 3u);
  EXPECT_EQ(csv.cells()[1], "b;\"c\"\n2");
  EXPECT_EQ(csv.cells()[2], "");
  ASSERT_TRUE(csv.next());
  EXPECT_EQ(csv.line(), 5);
  EXPECT_EQ(csv.cells()[0], "");
  EXPECT_EQ(csv.cells()[1], "x");
  EXPECT_FALSE(csv.next());
  for (const char* wrong : {"a,\"b", "a,\"b\"c"}) {
    CsvReader bad(wrong, "t");
    EXPECT_THROW(bad.next(), Error) << wrong;
  }
  EXPECT_EQ(csv_cell("a,\"b"), "\"a,\"\"b\"");
  EXPECT_EQ(csv_cell("plain"), "plain");
  EXPECT_EQ(csv_number(0.1), "0.1");
}

TEST(Stamps, ReadAndWritten) {
  const std::pair<const char*, const char*> cases[] = {
      {"2014-03-01", "2014-03-01"},
      {"2014/03/01", "2014-03-01"},
      {"20140301", "2014-03-01"},
      {"2014-03", "2014-03-01"},
      {"2014Q2", "2014-04-01"},
      {"2014-Q4", "2014-10-01"},
      {"2014-03-01 07:30", "2014-03-01T07:30"},
      {"2014-03-01T07", "2014-03-01T07:00"},
      {"2014-03-01T07:30:05.25", "2014-03-01T07:30:05.250000"},
      {"2014-03-01T07:30+0530", "2014-03-01T07:30+05:30"},
      {"2014-03-01T07:30-03:00", "2014-03-01T07:30-03:00"},
      {"2014-03-01T07:30:00Z", "2014-03-01T07:30Z"},
      {"1650-02-28", "1650-02-28"},
      {"2014", "2014"},
      {"-7", "-7"},
      {"20149901", "20149901"}};
  for (const auto& [text, want] : cases) {
    const auto s = parse_stamp(text);
    ASSERT_TRUE(s) << text;
    EXPECT_EQ(stamp_text(s->value, {s->kind, s->offset_minutes}), want) << text;
  }
  for (const char* wrong : {"", "-", "2014-13-01", "2014-02-29", "2014-3-1", "03/01/2014", "2014Q5",
                            "2014-03-01T25:00", "2014-03-01T07:30:", "2014-03-01x", "1e3", "12.5",
                            "99999999999999999999", "2014-03-01T07:30+1"})
    EXPECT_FALSE(parse_stamp(wrong)) << wrong;
}

TEST(Frequencies, NamesReadBack) {
  for (const char* name : {"us", "ms", "s",  "10s", "min", "15min", "h",  "6h",  "D", "W", "2W",
                           "B",  "MS", "ME", "QS",  "QE",  "YS",    "YE", "2MS", "1", "24"})
    EXPECT_EQ(name_of(frequency_named(name)), name);
  EXPECT_EQ(name_of(frequency_named("60min")), "h");
  EXPECT_EQ(name_of(frequency_named("W-SUN")), "W");
  EXPECT_EQ(name_of(frequency_named("15T")), "15min");
  for (const char* wrong : {"", "0D", "fortnight", "-D", "D5", "99999999999D"})
    EXPECT_THROW(frequency_named(wrong), Error) << wrong;
}

struct GridCase {
  const char* frequency;
  std::vector<const char*> stamps;
};

TEST(Frequencies, InferredFromStamps) {
  const GridCase cases[] = {
      {"MS", {"2020-01-01", "2020-02-01", "2020-03-01", "2020-05-01", "2020-06-01"}},
      {"ME", {"2020-01-31", "2020-02-29", "2020-03-31", "2020-05-31"}},
      {"MS", {"2020-01-15", "2020-02-15", "2020-04-15"}},
      {"MS",
       {"2020-01-30", "2020-02-29", "2020-03-30", "2020-04-30", "2020-05-30", "2020-06-30",
        "2020-07-30", "2020-08-30", "2020-09-30", "2020-10-30"}},
      {"QS", {"2020-01-01", "2020-04-01", "2020-07-01", "2021-01-01"}},
      {"QE", {"2020-03-31", "2020-06-30", "2020-09-30"}},
      {"YS", {"2017-01-01", "2018-01-01", "2020-01-01"}},
      {"D", {"2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05", "2020-01-06"}},
      {"B", {"2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08", "2020-01-09"}},
      {"W", {"2020-01-05", "2020-01-12", "2020-01-19", "2020-02-02"}},
      {"h", {"2020-01-01T00:00", "2020-01-01T01:00", "2020-01-01T03:00", "2020-01-01T04:00"}},
      {"15min", {"2020-01-01T00:00", "2020-01-01T00:15", "2020-01-01T00:45", "2020-01-01T01:00"}},
      {"10s", {"2020-01-01T00:00:05", "2020-01-01T00:00:15", "2020-01-01T00:00:25"}},
      // First trading days: another day every month.
      {"MS",
       {"2020-01-02", "2020-02-03", "2020-03-02", "2020-04-01", "2020-05-01", "2020-06-01",
        "2020-07-01", "2020-09-01"}},
      {"D", {"2020-01-01", "2020-01-03", "2020-01-06"}},  // no difference twice: their divisor
      {"1", {"1", "2", "4", "5"}},
      {"5", {"10", "15", "25", "30"}},
  };
  for (const GridCase& c : cases) {
    std::string text = "ds,y\n";
    for (const char* s : c.stamps) text += std::string(s) + ",1\n";
    const SeriesFile f = parse(text);
    ASSERT_EQ(f.series.size(), 1u);
    EXPECT_EQ(name_of(f.series[0].grid.frequency), c.frequency) << text;
  }
}

TEST(Frequencies, OneDisplacedStampOfManyIsMoved) {
  std::string text = "ds,y\n";
  for (int h = 0; h < 20; ++h)
    text += "2020-01-01T" + std::string(h < 10 ? "0" : "") + std::to_string(h) +
            (h == 7 ? ":04" : ":00") + ",1\n";
  const SeriesFile f = parse(text);
  EXPECT_EQ(name_of(f.series[0].grid.frequency), "h");
  EXPECT_EQ(f.series[0].values.size(), 20u);
  ASSERT_EQ(f.notes.size(), 1u);
  expect_says(f.notes[0], "1 stamps lie off the grid");
  expect_says(f.notes[0], "2020-01-01T07:04");
}

TEST(Frequencies, OneDisplacedStampOfFiveIsMoved) {
  const SeriesFile f =
      parse("ds,y\n2020-02-01,1\n2020-02-02,2\n2020-02-03T10:00,3\n2020-02-04,4\n2020-02-05,5\n");
  EXPECT_EQ(name_of(f.series[0].grid.frequency), "D");
  EXPECT_EQ(values_of(f.series[0]), "1 2 3 4 5");
}

TEST(Grids, NothingLiesBehindTheCalendar) {
  EXPECT_THROW(frequency_named("999999999W"), Error);
  EXPECT_THROW(frequency_named("999999999MS"), Error);
  for (const char* f : {"us", "15min", "D", "B", "W", "ME", "YS"}) {
    const std::int64_t times[] = {parse_stamp("2019-12-31")->value};
    const Grid g = grid_with(frequency_named(f), times);
    for (const std::int64_t index : {std::int64_t{1} << 62, -(std::int64_t{1} << 62)})
      EXPECT_THROW((void)g.at(index), Error) << f;
  }
  const std::int64_t times[] = {parse_stamp("2019-12-31")->value};
  EXPECT_THROW((void)grid_with(frequency_named("YS"), times).at(8000), Error);
  EXPECT_EQ(stamp_text(grid_with(frequency_named("YE"), times).at(7980), {StampKind::date, {}}),
            "9999-12-31");
}

TEST(Grids, StepsFollowTheCalendar) {
  const auto at = [](const char* frequency, const char* first, std::int64_t index) {
    const Stamp s = *parse_stamp(first);
    const std::int64_t times[] = {s.value};
    return stamp_text(grid_with(frequency_named(frequency), times).at(index), {s.kind, {}});
  };
  EXPECT_EQ(at("ME", "2020-01-31", 1), "2020-02-29");
  EXPECT_EQ(at("ME", "2020-02-29", 1), "2020-03-31");
  EXPECT_EQ(at("QE", "2020-12-31", 1), "2021-03-31");
  EXPECT_EQ(at("MS", "2020-12-15", 2), "2021-02-15");
  EXPECT_EQ(at("B", "2020-01-03", 1), "2020-01-06");
  EXPECT_EQ(at("B", "2020-01-06", -1), "2020-01-03");
  EXPECT_EQ(at("W", "1969-12-31", 1), "1970-01-07");
  EXPECT_EQ(at("YS", "1900-01-01", 100), "2000-01-01");
  for (const char* f : {"B", "MS", "ME", "D", "h"}) {
    const std::int64_t times[] = {parse_stamp("2019-12-31")->value};
    const Grid g = grid_with(frequency_named(f), times);
    for (std::int64_t i = -50; i < 50; ++i) EXPECT_EQ(g.slot_of(g.at(i)).index, i) << f;
  }
}

TEST(SeriesFile, Layouts) {
  const SeriesFile by_row = parse(
      "unique_id,ds,y\nb,2020-01-02,2\nb,2020-01-01,1\na,2020-01-01,5\nb,2020-01-04,4\na,2020-01-"
      "02,\n"
      "a,2020-01-03,7\n");
  ASSERT_EQ(by_row.series.size(), 2u);
  EXPECT_EQ(by_row.series[0].id, "b") << "order of first appearance";
  EXPECT_EQ(values_of(by_row.series[0]), "1 2 - 4");
  EXPECT_EQ(values_of(by_row.series[1]), "5 - 7");
  EXPECT_EQ(by_row.series[0].stamp(4), "2020-01-05");
  ASSERT_EQ(by_row.notes.size(), 1u);
  expect_says(by_row.notes[0], "1 series have gaps");

  const SeriesFile wide = parse("Date;x;y2\n2020-01;1;\n2020-02;2;8\n2020-03;NA;9\n");
  ASSERT_EQ(wide.series.size(), 2u);
  EXPECT_EQ(values_of(wide.series[0]), "1 2");
  EXPECT_EQ(values_of(wide.series[1]), "8 9");
  EXPECT_EQ(wide.series[1].stamp(0), "2020-02-01");
  EXPECT_EQ(wide.series[1].stamp(2), "2020-04-01");

  const SeriesFile numbers = parse("1\n2\n\n4.5\n-1e3\n");
  ASSERT_EQ(numbers.series.size(), 1u);
  EXPECT_EQ(values_of(numbers.series[0]), "1 2 4.5 -1000");
  EXPECT_EQ(numbers.series[0].stamp(4), "5");
  EXPECT_EQ(parse("sales\n1\n2\n").series[0].id, "sales");

  EXPECT_EQ(values_of(parse("2020-01-01,3\n2020-01-02,4\n").series[0]), "3 4");
  const SeriesFile bare = parse("shop,2020-01-01,3\nshop,2020-01-02,4\n");
  EXPECT_EQ(bare.series[0].id, "shop");
  const SeriesFile columns = parse("a,b\n1,2\n3,4\n5,6\n");
  ASSERT_EQ(columns.series.size(), 2u);
  EXPECT_EQ(values_of(columns.series[1]), "2 4 6");
  const SeriesFile numbered = parse("day,1,2\n2020-01-01,5,6\n2020-01-02,7,8\n");
  ASSERT_EQ(numbered.series.size(), 2u);
  EXPECT_EQ(numbered.series[0].id, "1");
  EXPECT_EQ(parse("a,a\n1,2\n3,4\n").series[1].id, "a#2");
}

// A number behind a repeated name may be the name of another column.
TEST(SeriesFile, RepeatedNamesNeverMeetAnotherColumn) {
  const auto ids = [](const SeriesFile& f) {
    std::string all;
    for (const TimeSeries& s : f.series) all += s.id + " " + values_of(s) + "; ";
    return all;
  };
  EXPECT_EQ(ids(parse("name,name,name#2\n1,2,3\n4,5,6\n")),
            "name#1 1 4; name#2#2 2 5; name#2 3 6; ");
  EXPECT_EQ(ids(parse("a#2,a,a,#4,\n1,2,3,4,5\n6,7,8,9,10\n")),
            "a#2 1 6; a#2#2 2 7; a#3 3 8; #4 4 9; #5 5 10; ");
  EXPECT_EQ(ids(parse("x,x,x#1,x#1#1\n1,2,3,4\n5,6,7,8\n")),
            "x#1#1#1 1 5; x#2 2 6; x#1 3 7; x#1#1 4 8; ");
}

TEST(SeriesFile, OptionsNameColumnsAndSigns) {
  const SeriesFile f =
      parse("shop;when;sold;price\nA;2020-01-01;1,5;9\nA;2020-01-02;2,5;9\n",
            {.id_column = "shop", .time_column = "when", .target = "sold", .decimal = ','});
  EXPECT_EQ(values_of(f.series[0]), "1.5 2.5");
  EXPECT_EQ(values_of(parse("1,5\n2,5\n4,25\n", {.decimal = ','}).series[0]), "1.5 2.5 4.25")
      << "a decimal comma delimits nothing";
  const SeriesFile german =
      parse("Datum;Umsatz\n01.02.2023;1,5\n02.02.2023;2,5\n03.02.2023;3\n", {.decimal = ','});
  EXPECT_EQ(german.series[0].stamp(3), "2023-02-04");
  EXPECT_EQ(values_of(parse("date,y\n2020-01-01,\"1,5\"\n2020-01-02,\"2,5\"\n",
                            {.delimiter = ',', .decimal = ','})
                          .series[0]),
            "1.5 2.5");
  expect_says(error_of("date,y\n2020-01-01,\"1,234.50\"\n"), "separators of thousands");
  expect_says(error_of("date,y\n2020-01-01,\"1,5\"\n"), "--delimiter , too");
  expect_says(error_of("shop,date,sales\nA,2020-01-01,1\n"), "--id-col");
  expect_says(error_of("a,b\n13/01/2024,1\n"), "a date is written");
  expect_says(error_of("shop,ds,sold\nA,2020-01-01,1\n", {.target = "sol"}),
              "did you mean \"sold\"");
  expect_says(error_of("shop,ds,sold\nA,2020-01-01,1\n", {.target = "zzzzzzz"}), "shop, ds, sold");
  expect_says(error_of("a,b\n1,2\n", {.layout = "long"}), "--target");
  expect_says(error_of("a,b\n1,2\n", {.layout = "column"}), "2 columns");
  expect_says(error_of("a,b\n1,2\n", {.layout = "tall"}), "wanted auto, long, wide or column");
}

TEST(SeriesFile, ClocksWithOffsets) {
  const SeriesFile same = parse("ds,y\n2020-01-01T00:00+02:00,1\n2020-01-01T01:00+02:00,2\n");
  EXPECT_EQ(same.series[0].stamp(2), "2020-01-01T02:00+02:00");
  // The night of the change to summer time, hour by hour.
  const SeriesFile hours = parse(
      "ds,y\n2020-03-29T00:00+01:00,1\n2020-03-29T01:00+01:00,2\n2020-03-29T03:00+02:00,3\n"
      "2020-03-29T04:00+02:00,4\n");
  EXPECT_EQ(values_of(hours.series[0]), "1 2 3 4");
  EXPECT_EQ(hours.series[0].stamp(4), "2020-03-29T03:00Z");
  const SeriesFile days = parse(
      "ds,y\n2020-03-28T00:00+01:00,1\n2020-03-29T00:00+01:00,2\n2020-03-30T00:00+02:00,3\n"
      "2020-03-31T00:00+02:00,4\n");
  EXPECT_EQ(values_of(days.series[0]), "1 2 3 4");
  EXPECT_EQ(days.series[0].stamp(4), "2020-04-01T00:00");
  expect_says(error_of("ds,y\n2020-01-01T00:00Z,1\n2020-01-01T01:00,2\n"),
              "with and without a time zone");
}

TEST(SeriesFile, RepairsAreNoted) {
  const SeriesFile f = parse(
      "unique_id,ds,y\na,1,1\na,2,inf\na,3,3\na,3,4\na,4,-1e999\na,5,6\na,6,\nb,1,\nb,2,NaN\n");
  ASSERT_EQ(f.series.size(), 1u);
  EXPECT_EQ(values_of(f.series[0]), "1 - 4 - 6");
  ASSERT_EQ(f.notes.size(), 4u) << f.notes.back();
  expect_says(parse("ds,y\n1,1\n2,1\n5,1\n6,1\n").notes.at(0),
              "have gaps, which are read as missing values (first: \"series\" with 2 steps of 6)");
  expect_says(parse("unique_id,ds,y\n\x1b[31m,1,1\n\x1b[31m,2,1\n\x1b[31m,4,1\n").notes.at(0),
              "\"?[31m\"");
  expect_says(f.notes[0],
              "2 infinite values are read as missing (first: test.csv line 3, column 3)");
  expect_says(f.notes[1], "1 rows repeat the time");
  expect_says(f.notes[2], "1 series end in missing values");
  expect_says(f.notes[3], "1 series have no observation and are left out (first: \"b\")");
}

TEST(SeriesFile, ShortSeriesTakeTheFrequencyOfTheOthers) {
  const SeriesFile f = parse(
      "unique_id,ds,y\nnew,2020-03-01,1\nold,2020-01-01,1\nold,2020-02-01,2\nold,2020-03-01,3\n");
  EXPECT_EQ(f.series[0].stamp(1), "2020-04-01");
  const SeriesFile folded = parse(
      "unique_id,ds,y\na,2020-01-01,1\na,2020-01-02,2\na,2020-01-03,3\nb,2020-01-01T00:00,1\n"
      "b,2020-01-01T05:00,2\n");
  EXPECT_EQ(name_of(folded.series[1].grid.frequency), "5h") << "days would put both in one slot";
  expect_says(error_of("ds,y\n2020-03-01,1\n"), "give --freq");
  EXPECT_EQ(parse("ds,y\n2020-03-01,1\n", {.frequency = "D"}).series[0].stamp(1), "2020-03-02");
  EXPECT_EQ(parse("5\n").series[0].stamp(1), "2") << "integers count by one";
  // Each series has its own.
  const SeriesFile mixed = parse(
      "unique_id,ds,y\na,2020-01-01,1\na,2020-01-02,1\na,2020-01-03,1\nb,2020-01-01,1\nb,2020-02-"
      "01,1\n"
      "b,2020-03-01,1\n");
  EXPECT_EQ(name_of(mixed.series[0].grid.frequency), "D");
  EXPECT_EQ(name_of(mixed.series[1].grid.frequency), "MS");
}

TEST(SeriesFile, ErrorsSayWhereAndWhat) {
  expect_says(error_of(""), "is empty");
  expect_says(error_of("\n\r\n"), "is empty");
  expect_says(error_of("unique_id,ds,y\n"), "no row of data");
  expect_says(error_of("unique_id,ds,y\na,1,1\na,2,x7\n"),
              "test.csv line 3, column 3 (y): \"x7\" is no number");
  expect_says(error_of("unique_id;ds;y\na;1;1,5\n"), "--decimal ,");
  expect_says(error_of("unique_id,ds,y\na,01/02/2020,1\n"),
              "line 2, column 2 (ds): \"01/02/2020\" is no time");
  expect_says(error_of("unique_id,ds,y\na,1\n"), "line 2: got 2 cells, wanted 3");
  expect_says(error_of("unique_id,ds,y\n,1,2\n"),
              "line 2, column 1 (unique_id): the series has no name");
  expect_says(error_of("unique_id,ds,y\na,1,NA\na,2,\n"), "every value is missing");
  expect_says(error_of("unique_id,ds,y\na,1,1\na,2020-01-01,2\n"), "mixes integers with dates");
  expect_says(error_of("unique_id,ds,y\na,\"1,1\n"), "line 2, column 2: a quote is opened");
  EXPECT_EQ(error_of("ds,y\n1,\x1b[2J\n").find('\x1b'), std::string::npos) << "steers a terminal";
  // A wrong year must not make a grid of billions of slots.
  expect_says(error_of("ds,y\n2020-01-01T00:00:00,1\n2020-01-01T00:00:01,1\n2020-01-01T00:00:02,1\n"
                       "9020-01-01T00:00:03,1\n"),
              "is a stamp wrong");
  expect_says(error_of("ds,y\n1,1\n2,1\n3,1\n", {.max_points = 2}), "more than 2 values");
  expect_says(error_of("ds,y\n2020-01-01T00:00,1\n2020-01-01T01:00,1\n2020-01-01T02:00,1\n",
                       {.frequency = "D"}),
              "sum or average");
  expect_says(error_of("ds,y\n1,1\n2,1\n", {.frequency = "D"}), "has integers");
  expect_says(error_of("ds,y\n2020-01-01T00:00:01,1\n2020-01-01T05:13:20,1\n"
                       "2020-01-02T17:00:07,1\n2020-01-09T20:41:58,1\n"),
              "no regular grid");
}

TEST(SeriesFile, DamagedFilesGiveSeriesOrErrors) {
  const std::string seeds[] = {
      "unique_id,ds,y\na,2020-01-01,1\na,2020-01-02,2\nb,2020-01-01T10:00+02:00,3\n",
      "date;a;b\n2020-01;1;\n2020-02;2,5;8\n\"2020-03\";NA;9\n", "1\n2\n3\n4.5e300\n-inf\n"};
  const std::string bytes = "0123456789-:T,;\t\"\n\r.eZ \xff";
  const Rng rng{7, 7};
  int read = 0, refused = 0;
  for (std::uint64_t k = 0; k < 6000; ++k) {
    std::string text = seeds[k % 3];
    for (std::uint64_t e = 0; e < 1 + k % 4; ++e) {
      const auto at =
          static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(text.size()), k, 2 * e));
      const char c = bytes[static_cast<std::size_t>(
          rng.below(static_cast<std::int64_t>(bytes.size()), k, 2 * e + 1))];
      if (k % 2 == 0) {
        text[at] = c;
      } else {
        text.insert(at, 1, c);
      }
    }
    try {
      for (const TimeSeries& s : parse(text).series) {
        ASSERT_FALSE(s.values.empty());
        EXPECT_FALSE(std::isnan(s.values.front()) || std::isnan(s.values.back()));
        EXPECT_LE(s.values.size(), 2000u);
      }
      ++read;
    } catch (const Error& e) {
      EXPECT_GT(std::string(e.what()).size(), 10u);
      ++refused;
    }
  }
  EXPECT_GT(read, 200);
  EXPECT_GT(refused, 500);
}

TEST(SeriesFile, ManySeries) {
  std::string text = "unique_id,ds,y\n";
  constexpr int kSeries = 100000;
  for (int t = 0; t < 3; ++t) {
    for (int i = 0; i < kSeries; ++i)
      text += "s" + std::to_string(i) + "," + std::to_string(t) + "," + std::to_string(i) + "\n";
  }
  const SeriesFile f = parse(text);
  ASSERT_EQ(f.series.size(), static_cast<std::size_t>(kSeries));
  EXPECT_EQ(values_of(f.series.back()), "99999 99999 99999");
}

// The name of a column is looked up, not compared with all others.
TEST(SeriesFile, ManyColumns) {
  constexpr int kColumns = 100000;
  std::string text = "date";
  for (int i = 0; i < kColumns; ++i) text += ",c" + std::to_string(i / 2 * 2 + (i > 3 ? i % 2 : 0));
  for (int t = 1; t < 4; ++t) {
    text += "\n2024-01-0" + std::to_string(t);
    for (int i = 0; i < kColumns; ++i) text += "," + std::to_string(i % 10);
  }
  const SeriesFile f = parse(text + "\n");
  ASSERT_EQ(f.series.size(), static_cast<std::size_t>(kColumns));
  EXPECT_EQ(f.series[0].id, "c0#2") << "named twice";
  EXPECT_EQ(f.series[3].id, "c2#5");
  EXPECT_EQ(f.series[4].id, "c4");
  EXPECT_EQ(values_of(f.series.back()), "9 9 9");
  const std::string error = error_of(text + "\n", {.layout = "long", .target = "consumption"});
  EXPECT_LT(error.size(), 1000u);
  EXPECT_NE(error.find("and 99981 more"), std::string::npos) << error;
}

TEST(Seasons, AsThePackagesAssumeThem) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"s", 3600}, {"10s", 360}, {"min", 1440}, {"5min", 288}, {"15min", 96}, {"h", 24},
      {"2h", 12},  {"5h", 1},    {"D", 1},      {"B", 5},      {"W", 1},      {"MS", 12},
      {"ME", 12},  {"2MS", 6},   {"QS", 4},     {"YE", 1},     {"7", 1},      {"ms", 1}};
  for (const auto& [name, season] : cases)
    EXPECT_EQ(default_season(frequency_named(name), false), season) << name;
  EXPECT_EQ(default_season(frequency_named("D"), true), 7);
  EXPECT_EQ(default_horizon(frequency_named("h")), 48);
  EXPECT_EQ(default_horizon(frequency_named("QE")), 8);
}

}  // namespace
}  // namespace subquad
